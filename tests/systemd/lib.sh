# What every case shares. Sourced inside the machine, as root, without a terminal.
#
# A case checks with `ok NAME CONDITION` and waits with `until_ CONDITION [SECONDS]`; it ends by `finish`. Nothing sleeps for
# luck: a wait has a condition and a deadline.
set -u
passed=0 failed=0
socket=/run/contentd/contentd.sock

ok() { # NAME CONDITION: a line of shell
  if eval "$2"; then
    passed=$((passed + 1))
    echo "ok   - $1"
  else
    failed=$((failed + 1))
    echo "FAIL - $1   [$2]"
  fi
}

until_() { # CONDITION [SECONDS]
  local end=$((SECONDS + ${2:-30}))
  until eval "$1"; do
    if [ $SECONDS -ge $end ]; then return 1; fi
    sleep 0.05
  done
}

# What was said before is in it: journald is behind where the machine is busy.
journalctl() { command journalctl --sync && command journalctl "$@"; }
p() { systemctl show -P "$1" "${2:-contentd.service}"; } # PROPERTY [UNIT]
is_active() { [ "$(p ActiveState "${1:-contentd.service}")" = active ]; }
h() { printf '\n## %s\n' "$*"; }
ctl() { contentctl --output json "$@"; }
field() { jq -r "$1"; }

# Puts units, users and the configuration where the package puts them. The programs are shown at /usr/bin by the rig.
install_files() { # [CONFIGURATION FILE]
  cp /root/systemd/*.service /root/systemd/*.socket /root/systemd/*.timer /usr/lib/systemd/system/ 2>/dev/null || true
  cp /root/systemd/contentd.sysusers /usr/lib/sysusers.d/contentd.conf
  if [ -e /root/systemd/contentd.catalog ]; then
    mkdir -p /usr/lib/systemd/catalog
    cp /root/systemd/contentd.catalog /usr/lib/systemd/catalog/
    journalctl --update-catalog
  fi
  mkdir -p /etc/contentd
  if [ -n "${1:-}" ]; then cp "$1" /etc/contentd/contentd.toml; fi
  systemd-sysusers
  systemctl daemon-reload
}

# The sample generator with quick polls, in the daemon's own directory; lines from the argument come after it.
sample_configuration() { # [LINES]
  cat <<'TOML'
[tasks]
generator = "sample"
retry = { initial = "200ms", factor = 1.0, max = "200ms", jitter = 0.0 }
[polling]
interval = "1s"
[roles]
submitter = ["@contentd"]
TOML
  sed 's|{creator}|/usr/bin/sample-generator|' /root/sample.toml
  printf '%s\n' "${1:-}"
}

# A blocking generator: writes a piece after as many seconds as the topic says ("seconds:N …"), and a line into the file
# `starts` of its working directory for each start: each would be paid for.
blocking_configuration() {
  cat <<'TOML'
[generators.slow]
max_in_flight = 200
[generators.slow.submit]
run = ["/usr/local/bin/slow-writer", "{topic}"]
content = "text"
TOML
}
write_slow_writer() {
  cat >/usr/local/bin/slow-writer <<'SH'
#!/bin/sh
seconds=$(printf '%s' "$1" | sed -n 's/^seconds:\([0-9.]*\).*/\1/p')
echo "writing about $1" >&2
echo "$1" >>starts
sleep "${seconds:-0}"
echo "# A piece about $1"
echo
echo "It took ${seconds:-0} seconds, and it ends here."
SH
  chmod 755 /usr/local/bin/slow-writer
}

# Whether an output holds what the page shows: lines in a row, with `…` for anything in a line, and alone for any lines.
is_as_shown() { # OUTPUT SHOWN
  python3 - "$@" <<'END'
import re
import sys

output, shown = (open(path, encoding="utf-8").read() for path in sys.argv[1:])
lines = [r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "[ ]*\n"
         for line in shown.rstrip("\n").split("\n")]
sys.exit(not re.search("^" + "".join(lines), output, re.MULTILINE))
END
}

finish() {
  printf '\n%s passed, %s failed\n' "$passed" "$failed"
  [ "$failed" = 0 ]
}
