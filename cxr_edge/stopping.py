"""Which signals ask this process to stop."""

import signal


def stopping_signals() -> tuple[signal.Signals, ...]:
    """SIGINT, SIGTERM, SIGBREAK (Windows), and SIGHUP unless it was ignored from the start, as `nohup` asks."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    found = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return tuple(number for number in found if number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN)
