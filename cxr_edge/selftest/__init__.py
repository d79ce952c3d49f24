"""An installation qualification: does this model decide on this machine as it did where it was exported?"""

from cxr_edge.selftest.qualification import Report, outcome, qualify_installation

__all__ = ["Report", "outcome", "qualify_installation"]
