# Beside a systemd that runs, as its root: the server under the package's unit, and the timers' units.
set -eu
cd /root
die() {
    echo "failed: $*" >&2
    journalctl --no-pager -n 30 -o cat >&2
    exit 1
}
lines() { journalctl --no-pager -o cat -t greylist | grep -c "$1" || true; }

postconf inet_interfaces=127.0.0.1 inet_protocols=ipv4 smtpd_peername_lookup=no \
    smtpd_authorized_xclient_hosts=127.0.0.1 mynetworks=127.0.0.2/32 \
    mydestination=mx.example.org myhostname=mx.example.org
systemctl restart postfix
[ "$(systemctl is-enabled greylist.service greylist.socket)" = "disabled
disabled" ] || die "a unit was enabled before anybody wanted it"

echo "== set up"
greylist setup --serve --dry-run >dry
greylist setup --serve >done || die "$(cat done)"
[ "$(sed -n 's/^would do  *//p' dry)" = "$(sed -n 's/^do  *//p' done)" ] || die "$(cat dry done)"
greylist setup --serve | grep -q 'nothing was changed' || die "a second setup changed something"
systemctl is-active --quiet greylist.service || die "it does not run"

echo "== a deferral, and a pass"
echo 'delay = 2s' >>/etc/postfix/greylist.cf
sleep 3
python3 mail.py 450 198.51.100.1
sleep 3
python3 mail.py 250 198.51.100.1

echo "== killed, and started again"
for number in $(seq 1 5); do
    python3 mail.py 450 "10.1.$number.1"
    systemctl kill --signal=KILL --kill-whom=main greylist.service
    sleep 1
    python3 mail.py 250 198.51.100.1
done
[ "$(greylist list --json | grep -c '10\.1\.')" = 5 ] || die "entries were lost"
[ "$(lines damaged)" = 0 ] || die "a recovery failed"
# As after a crash of the machine: the next one recovers.
systemctl stop greylist.socket greylist.service
rm /var/lib/greylist/greylist.db.lock
systemctl start greylist.socket
python3 mail.py 250 198.51.100.1
[ "$(lines damaged)" = 0 ] || die "the sandbox does not let it recover"
systemctl is-active --quiet greylist.service || die "the socket did not start it"

echo "== figures and a dump"
systemctl start greylist-metrics.service greylist-dump.service || die "their units"
grep -q '^greylist_entries' /run/greylist-metrics/greylist.prom || die "no figures"
zcat /var/lib/greylist-dumps/greylist-*.gz | grep -q 198.51.100 || die "no dump"
systemctl enable -q --now greylist-metrics.timer greylist-dump.timer
[ "$(systemctl list-timers --no-legend 'greylist*' | wc -l)" = 2 ] || die "no timers"

echo "== spawn in its place, and back"
greylist setup >done || die "$(cat done)"
! systemctl is-active --quiet greylist.service greylist.socket || die "the server still runs"
python3 mail.py 250 198.51.100.1
greylist setup --serve >done || die "$(cat done)"
python3 mail.py 250 198.51.100.1
systemctl is-active --quiet greylist.service || die "it does not run any more"

echo "== removed and purged"
dpkg -P greylist >purge 2>&1 || die "$(cat purge)"
! systemctl is-active --quiet greylist.service greylist.socket || die "the server still runs"
python3 mail.py 250 192.0.2.77
! find /etc /usr /var/lib /run -name '*greylist*' | grep . || die "purging left that"
