"""A training child that follows a script on its command line: run as `python agent_worker.py DEED…`, one a job."""

import os
import signal
import sys
import time


def main() -> None:
    """Do one deed for each job, then the last one again."""
    deeds = sys.argv[1:]
    for number, line in enumerate(sys.stdin.buffer):
        deed = deeds[min(number, len(deeds) - 1)]
        if deed == "exit":
            print("about to fail", file=sys.stderr)
            sys.exit(3)
        elif deed == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif deed == "hang":
            if os.fork() == 0:
                time.sleep(3600)  # a grandchild
            time.sleep(3600)
        elif deed == "long":
            sys.stdout.buffer.write(b"x" * (2 << 20) + b"\n")
        elif deed == "nonsense":
            sys.stdout.buffer.write(b'{"kind": "Unheard"}\n')
        elif deed == "echo":
            sys.stdout.buffer.write(line)
        elif deed == "shout":
            sys.stderr.write("y" * (3 << 20) + "\n")
            sys.stdout.buffer.write(b'{"kind": "Checked", "problem": ""}\n')
        else:
            sys.stdout.buffer.write(b'{"kind": "Stepped", "step": 1, "steps": 2, "loss": 0.5}\n')
            sys.stdout.buffer.write(b'{"kind": "Checked", "problem": "%d %d"}\n' % (os.getpid(), os.nice(0)))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
