# In a fresh root file system, as its root: what the image's last lines run, asked over TCP.
set -eu
ip link set lo up
cd /
setpriv --reuid greylist --regid greylist --clear-groups --no-new-privs \
    /usr/bin/greylist --listen inet:127.0.0.1:10023 --log stderr serve 2>/root/serve.log &
server=$!
python3 - <<'EOF' || { cat /root/serve.log; exit 1; }
import socket, time
for attempt in range(100):
    try:
        client = socket.create_connection(("127.0.0.1", 10023))
        break
    except OSError:
        time.sleep(0.1)
request = {"request": "smtpd_access_policy", "protocol_state": "RCPT", "client_name": "unknown",
           "client_address": "192.0.2.1", "sender": "a@example.com", "recipient": "b@example.org"}
client.sendall("".join(f"{k}={v}\n" for k, v in request.items()).encode() + b"\n")
reply = client.recv(1000)
assert reply.startswith(b"action=defer_if_permit"), reply
EOF
kill $server
wait $server
grep -q action=greylist /root/serve.log
[ "$(stat -c %U /var/lib/greylist/greylist.db)" = greylist ]
echo "container: passed"
