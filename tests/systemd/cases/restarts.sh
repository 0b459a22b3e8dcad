# Restarts without a gap: 200 restarts of the daemon under 500 submits a second. Nobody is refused, nothing is lost, no job is
# made twice, and what runs detached goes on.
# rig: -t 900 -f tests/systemd/load.py:/root/load.py
. /root/lib.sh

# A generator that counts: each submit is a line in `jobs`, which is what would be paid for. It has no `find` and is not
# idempotent, so that a submit in doubt would stay held, and be seen.
cat >/usr/local/bin/count-job <<'SH'
#!/bin/sh
case $1 in
  submit) echo "$2 $3" >>jobs && echo "ref: $2" ;;
  poll) echo '{"status": "completed"}' ;;
  fetch) echo "A piece that was asked for under $2, and it is long enough." ;;
esac
SH
chmod 755 /usr/local/bin/count-job
cat >/root/contentd.toml <<'TOML'
[tasks]
generator = "counting"
[polling]
interval = "1s"
[generators.counting]
max_in_flight = 20
[generators.counting.submit]
run = ["/usr/local/bin/count-job", "submit", "{key}", "{topic}"]
ref = 're:(?m)^ref: (\S+)$'
[generators.counting.poll]
run = ["/usr/local/bin/count-job", "poll", "{ref}"]
state = "json:/status"
[generators.counting.fetch]
run = ["/usr/local/bin/count-job", "fetch", "{ref}"]
content = "text"
[generators.counting.states]
completed = "completed"
TOML
install_files /root/contentd.toml
# Two hundred starts on purpose are no crash loop.
mkdir -p /run/systemd/system/contentd.service.d
printf '[Unit]\nStartLimitIntervalSec=0\n' >/run/systemd/system/contentd.service.d/often.conf
systemctl daemon-reload
systemctl start contentd.socket contentd-run.socket
contentctl account add --name load >/dev/null

python3 /root/load.py $socket 500 /root/acknowledged >/root/load.json &
load=$!
acknowledged() { cat /root/acknowledged 2>/dev/null | wc -l; }
restarts=0
begun=$(date +%s%N)
for _ in $(seq 200); do
  # Each daemon lives through half a second of the load before it has to go.
  enough=$(($(acknowledged) + 250))
  until_ '[ "$(acknowledged)" -ge $enough ]' 60 || echo "the load stands still at $(acknowledged)"
  systemctl restart contentd && restarts=$((restarts + 1))
done
echo "200 restarts took $((($(date +%s%N) - begun) / 1000000)) ms"
kill -TERM $load
wait $load
cat /root/load.json
ok "200 restarts" '[ $restarts = 200 ]'
ok "each of them was a new daemon that became ready" '[ "$(journalctl -u contentd -o cat | grep -c "^Started contentd.service\|contentd .* starts")" -ge 200 ]'
ok "nobody was refused" '! grep -q refused /root/load.json'
ok "and no call was answered by another error" '! grep -q "error:" /root/load.json'
ok "the load went on meanwhile" '[ "$(jq .acknowledged /root/load.json)" -ge 50000 ]'
systemctl stop contentd
sqlite3 /var/lib/contentd/contentd.db "select key || ' ' || id from tasks" | sort >/root/stored
sort /root/acknowledged >/root/told
ok "everything that was acknowledged is stored, under its id" '[ -z "$(comm -23 /root/told /root/stored)" ]'
ok "nothing is stored twice" '[ -z "$(cut -d" " -f1 /root/stored | uniq -d)" ]'
jobs=/var/lib/contentd/generators/counting/jobs
echo "$(wc -l <$jobs) jobs were made"
ok "jobs were made meanwhile" '[ "$(wc -l <$jobs)" -gt 100 ]'
ok "no job was made twice" '[ -z "$(cut -d" " -f2 $jobs | sort | uniq -d)" ]'
ok "no submit was left in doubt" '[ "$(sqlite3 /var/lib/contentd/contentd.db "select count(*) from tasks where state = '"'held'"'")" = 0 ]'
ok "every restart ended well" '! journalctl -u contentd -o cat | grep -Eq "Failed with result|Killing process|panicked"'
finish
