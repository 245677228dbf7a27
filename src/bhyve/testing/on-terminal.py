"""Runs a program on a pseudo-terminal: on-terminal.py STEPS_JSON PROGRAM ARGS... Prints JSON: output, status, whether the terminal is as before.

A step is {"expect": text}, {"send": text}, {"signal": name} or {"raw": true} (waits until the terminal is raw).
"""
import json, os, pty, select, signal, subprocess, sys, termios, time

steps, argv = json.loads(sys.argv[1]), sys.argv[2:]
master, slave = pty.openpty()
before = termios.tcgetattr(slave)
child = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                         preexec_fn=lambda: __import__("fcntl").ioctl(0, termios.TIOCSCTTY, 0))
deadline = time.monotonic() + 15
output, at, failed = b"", 0, None


def pump(seconds):
    global output
    ready, _, _ = select.select([master], [], [], seconds)
    if ready:
        try:
            output += os.read(master, 65536)
        except OSError:
            pass


for step in steps:
    while failed is None:
        if "expect" in step:
            found = output.find(step["expect"].encode(), at)
            if found >= 0:
                at = found + len(step["expect"].encode())
                break
        elif "raw" in step:
            if not termios.tcgetattr(slave)[3] & termios.ICANON:
                break
        elif "send" in step:
            os.write(master, step["send"].encode())
            break
        elif "signal" in step:
            child.send_signal(getattr(signal, step["signal"]))
            break
        pump(0.02)
        if time.monotonic() > deadline:
            failed = json.dumps(step)
while child.poll() is None and time.monotonic() < deadline:
    pump(0.02)
if child.poll() is None:
    failed = failed or "did not end"
    child.kill()
    child.wait()
while select.select([master], [], [], 0)[0]:
    pump(0)
after = termios.tcgetattr(slave)
print(json.dumps({"output": output.decode(errors="replace"), "status": child.returncode, "restored": before == after, "failed": failed}))
