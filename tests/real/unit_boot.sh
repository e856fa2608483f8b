# Boots this machine's own systemd in a container, over a throw-away layer on the root file system, with our units in it.
# $1: an empty folder, in which `said` is left; $2: the repository; $3: the Python; $4: its site-packages. Call it as root in mount and PID namespaces of its own.
set -eu
stage=$1 repository=$2 python=$3 packages=$4
root=$stage/root
mkdir -p "$root" "$stage/layer"
mount -t tmpfs tmpfs "$stage/layer"
mkdir "$stage/layer/upper" "$stage/layer/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$stage/layer/upper,workdir=$stage/layer/work" "$root"
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup

mkdir -p "$root/opt/failoverd/bin" "$root/opt/python" "$root/opt/packages" "$root/opt/repository" "$root/etc/failoverd" "$root/etc/credstore"
printf '%s\n' '#!/bin/sh' 'export PYTHONPATH=/opt/repository:/opt/packages LD_LIBRARY_PATH=/opt/python/lib' 'exec /opt/python/bin/python3 -m daemon.cli "$@"' >"$root/opt/failoverd/bin/failoverd"
chmod 755 "$root/opt/failoverd/bin/failoverd"
printf '%s\n' 'vast: {url: "http://127.0.0.1:8790", api_key: any}' 'machines: [{id: 1, name: alpha, gpu_instance_id: 7001}]' >"$root/etc/failoverd/failoverd.yaml"
(umask 077; echo fa_of_the_credential_0123456789 >"$root/etc/credstore/failoverd.http__token")
cp "$repository"/systemd/*.service "$root/etc/systemd/system/"
mkdir "$root/etc/systemd/system/failoverd.service.d"
printf '%s\n' '[Service]' 'WatchdogSec=8s' >"$root/etc/systemd/system/failoverd.service.d/soon.conf"
printf '%s\n' FAILOVERD_MACHINE_ID=1 FAILOVERD_INSTANCE_ID=7001 FAILOVERD_URL=http://127.0.0.1:8787 >"$root/etc/failoverd/agent.env"

cat >"$root/etc/systemd/system/world.service" <<'UNIT'
[Service]
ExecStart=/opt/failoverd/bin/failoverd sim --machines 1
UNIT
cat >"$root/etc/systemd/system/check.service" <<'UNIT'
[Service]
Type=oneshot
StandardOutput=file:/said/said
StandardError=inherit
ExecStart=/bin/bash /check.sh
ExecStopPost=/bin/systemctl --no-block poweroff
UNIT
ln -s ../check.service "$root/etc/systemd/system/multi-user.target.wants/check.service"
cat >"$root/check.sh" <<'CHECK'
told() { echo "$1: $(systemctl show failoverd -p "$2" --value)"; }
livez() { python3 -c 'import urllib.request as u; print("livez:", u.urlopen("http://127.0.0.1:8787/livez").status)'; }
systemctl start world
systemctl start failoverd && echo "started: yes"
systemctl reload failoverd && echo "reloaded: yes"
token=$(cat /etc/credstore/failoverd.http__token)
python3 -c 'import sys, urllib.request as u; print("by the credential:", u.urlopen(u.Request("http://127.0.0.1:8787/api/v1/fleet", headers={"Authorization": "Bearer " + sys.argv[1]})).status)' "$token"
umask 077
# Whoever may do everything may beat.
cat /etc/credstore/failoverd.http__token >/etc/credstore/failoverd.beat_token
systemctl start failoverd-agent && echo "agent started: yes"
sleep 14
told state ActiveState
told restarts NRestarts
told status StatusText
livez
echo "agent: $(systemctl show failoverd-agent -p ActiveState --value)"
cat /root/.failoverd/agent.json; echo
before=$(date +%s)
systemctl stop failoverd
echo "stopped within: $(($(date +%s) - before))"
told result Result
systemctl start failoverd
systemctl kill -s STOP failoverd
sleep 14
told "restarts after it stood still" NRestarts
for _ in $(seq 30); do [ "$(systemctl show failoverd -p ActiveState --value)" = active ] && break; sleep 1; done
told "state after it stood still" ActiveState
journalctl --no-pager -u failoverd -u failoverd-agent | tail -50
CHECK
chmod 755 "$stage"
systemd-nspawn --quiet --boot --directory="$root" --keep-unit --register=no --link-journal=no --private-network --console=pipe --kill-signal=SIGKILL \
  --bind="$stage:/said" --bind-ro="$python:/opt/python" --bind-ro="$packages:/opt/packages" --bind-ro="$repository:/opt/repository" \
  systemd.unit=multi-user.target </dev/null
