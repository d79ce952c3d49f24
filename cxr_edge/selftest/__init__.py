"""An installation qualification: does this model decide on this machine as it did where it was exported?"""

from cxr_edge.selftest.qualification import Report, qualify_installation

__all__ = ["Report", "qualify_installation"]
