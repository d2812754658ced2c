# Lines of an access log, as config/nginx.conf has them written.
# usage: requests.py N SHARE STABLE CANARY [key=value]…
#   errors, canary_errors: shares; slower: factor of the canary's times; seed; alias; score
import random, sys, time

n, share, stable, canary = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
opt = dict(a.split("=", 1) for a in sys.argv[5:])
rng = random.Random(int(opt.get("seed", 7)))
errors = float(opt.get("errors", 0.01))
now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + float(opt.get("later", 1))))
for i in range(n):
    is_canary = rng.random() < share
    failed = rng.random() < (float(opt.get("canary_errors", errors)) if is_canary else errors)
    seconds = rng.lognormvariate(-3.9, 0.5) * (float(opt.get("slower", 1)) if is_canary else 1)
    score = ',"score":%.4f' % (rng.gauss(float(opt["score"]) if is_canary else 0, 1)) if "score" in opt else ""
    print('{"time":"%s","alias":"%s","unit":"u%d","version":%s,"status":%d,"seconds":%.3f,'
          '"upstream_seconds":"%.3f","request":"POST /v1/models/x:predict HTTP/1.1"%s}'
          % (now, opt.get("alias", "digits@production"), i, canary if is_canary else stable,
             int(opt.get("status", 500)) if failed else 200, seconds, seconds, score))
