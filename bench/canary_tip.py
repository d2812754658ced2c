# Writes a log line by line until the link `config` moves; prints how many ms after the last
# line that was. A breach is tipped by a line: from then on nothing is written any more.
# usage: canary_tip.py LOG CONFIG STABLE CANARY
import os, sys, time

log, config, stable, canary = sys.argv[1:5]
was = os.readlink(config)
out = open(log, "a", buffering=1)
time.sleep(0.2)  # the watcher begins
last = time.monotonic()
for i in range(100000):
    version, status = (canary, 500) if i % 2 else (stable, 200)
    if os.readlink(config) != was:
        break
    out.write('{"alias":"m@production","unit":"u%d","version":%s,"status":%d,"seconds":0.010}\n' % (i, version, status))
    last = time.monotonic()
    # the watcher is given time to see each line by itself, and a breach to move the link
    end = last + (1 if i > 400 else 0.25 if i > 6 else 0.02)
    while time.monotonic() < end and os.readlink(config) == was:
        time.sleep(0.0005)
    if os.readlink(config) != was:
        break
print("%.1f" % ((time.monotonic() - last) * 1000))
