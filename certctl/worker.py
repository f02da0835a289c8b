"""``python -m certctl.worker``: what a parent starts, ``twistd certctl`` on the sockets that it hands over."""

import os
import sys


def main() -> None:
    """Run until the parent, or its end, says that it is enough."""
    os.environ["LISTEN_PID"] = str(os.getpid())  # which the parent could not know, and Twisted's modules read
    from twisted.scripts import twistd

    sys.argv[1:1] = ("--nodaemon", "--pidfile=", "certctl")
    twistd.run()


if __name__ == "__main__":
    main()
