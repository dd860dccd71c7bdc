# In a fresh root file system, as its root: the life of the package, from installing to purging.
set -eu
cd /root
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
say() { echo "== $*"; }
die() {
    echo "failed: $*" >&2
    exit 1
}
trap 'postfix stop >/dev/null 2>&1 || true' EXIT

ip link set lo up
postconf inet_interfaces=127.0.0.1 inet_protocols=ipv4 smtpd_peername_lookup=no \
    smtpd_authorized_xclient_hosts=127.0.0.1 mynetworks=127.0.0.2/32 \
    mydestination=mx.example.org myhostname=mx.example.org maillog_file=/var/log/mail.log
postconf -F '*/*/chroot=n'
if ! postconf -M postlog/unix-dgram | grep -q .; then
    postconf -M 'postlog/unix-dgram=postlog unix-dgram n - n - 1 postlogd'
fi
cp /etc/postfix/main.cf /etc/postfix/master.cf /tmp/
ours() { find /etc /usr /var /run -xdev -name '*greylist*' | sort; }
before=$(ours)
postfix start 2>/dev/null || die "Postfix does not start: $(cat /var/log/mail.log)"

say install an older version
dpkg -i old.deb >/tmp/dpkg.log 2>&1 || die "$(cat /tmp/dpkg.log)"
greylist --version
[ "$(stat -c '%U %a' /var/lib/greylist)" = 'greylist 700' ] || die "the directory"
for shell in bash zsh fish; do
    find /usr/share -path "*$shell*" -name '*greylist*' | grep -q . || die "completion of $shell"
done

say set up
greylist setup --dry-run >/tmp/dry.log
cmp /tmp/main.cf /etc/postfix/main.cf || die "--dry-run changed main.cf"
greylist setup
greylist setup | grep -q 'nothing was changed' || die "a second setup changed something"

say a deferral, and a pass
python3 mail.py 450 192.0.2.1
echo 'delay = 2s' >>/etc/postfix/greylist.cf
sleep 3
python3 mail.py 450 198.51.100.1
sleep 3
python3 mail.py 250 198.51.100.1

say upgrade while it is in use
(
    for number in $(seq 1 30); do
        python3 mail.py 450 "10.1.$number.1" || exit 1
    done
) &
asking=$!
dpkg -i --force-confold new.deb >/tmp/dpkg.log 2>&1 || die "$(cat /tmp/dpkg.log)"
wait $asking || die "mail was not asked about while the package was upgraded"
grep -q '^delay = 2s' /etc/postfix/greylist.cf || die "the settings were overwritten"
python3 mail.py 250 198.51.100.1
[ "$(greylist list --json | grep -c '10\.1\.')" -ge 30 ] || die "entries are missing"
greylist check

say another Python of the system
mv /usr/lib/greylist/re2 /usr/lib/greylist/re2.away
postfix reload 2>/dev/null
python3 mail.py 450 203.0.113.1
mv /usr/lib/greylist/re2.away /usr/lib/greylist/re2
grep -E 'greylist\[.*(fatal|Traceback)|problem talking' /var/log/mail.log && die "trouble in the log"

say remove
dpkg -r greylist >/tmp/dpkg.log 2>&1 || die "$(cat /tmp/dpkg.log)"
for file in main.cf master.cf; do
    ! grep -q greylist /etc/postfix/$file || die "$file still has it: $(grep greylist /etc/postfix/$file)"
done
python3 mail.py 250 192.0.2.77
[ -e /var/lib/greylist/greylist.db ] || die "removing deleted the database"

say purge
dpkg -P greylist >/tmp/dpkg.log 2>&1 || die "$(cat /tmp/dpkg.log)"
postfix stop 2>/dev/null
echo "$before" >/tmp/before
left=$(ours | comm -13 /tmp/before -)
[ -z "$left" ] || die "purging left: $left"
! getent passwd greylist || die "purging left the user"
