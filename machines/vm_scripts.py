"""The shell scripts of machines/vm_lines.py: what runs on an instance and on its CPU VM so that a workspace is kept there."""

from __future__ import annotations

DOOR = r"""
# The only thing that the key of the CPU VM may do here: rsync on the workspace, and nothing beside it.
{ read -r workspace; read -r machine; read -r mount; } < "${0%/*}/vm-door.place"
refuse() { echo "failoverd: $1" >&2; exit 9; }
set -f
mode=$1; sender=no; flags=; options=
set -- $SSH_ORIGINAL_COMMAND
[ "$1 $2" = "rsync --server" ] || refuse "only rsync is let in"
shift 2
for word do
    case $word in
        --sender) sender=yes ;;
        --numeric-ids|--delete|--delete-during|--log-format=%i|--log-format=X) options="$options $word" ;;
        --*) refuse "$word is not allowed" ;;
        -*)
            case ${word%%e.*} in -*[!vnclogDtprH]*) refuse "$word is not allowed" ;; esac
            case ${word#*e.} in *[!A-Za-z0-9]*) refuse "$word is not allowed" ;; esac
            flags=$word ;;
    esac
done
case $flags in *e.*) ;; *) refuse "this rsync is too old" ;; esac
if [ "$mode" = read ]; then
    [ $sender = yes ] || refuse "the workspace is only read here"
    [ -z "$mount" ] || grep -qF " $mount " /proc/self/mountinfo || refuse "$mount is not mounted"
    [ "$(cat "$workspace/.failoverd-machine" 2>/dev/null)" = "$machine" ] || refuse "the workspace does not bear the mark of machine $machine"
    exec rsync --server --sender $flags $options . "$workspace/"
fi
[ $sender = no ] || refuse "the workspace is only written here"
mkdir -p "$workspace" && exec rsync --server $flags $options . "$workspace/"
"""
OPEN_DOOR = r"""
mode=$1; workspace=$2; machine=$3; mount=$4; key=$5; door=$6
place="$HOME/.failoverd"; keys="$HOME/.ssh/authorized_keys"
umask 077; mkdir -p "$place" "$HOME/.ssh" || exit 70
if [ "$mode" = read ]; then
    cd "$workspace" 2>/dev/null || { echo "absent $workspace is not there"; exit 0; }
    [ -z "$mount" ] || grep -qF " $mount " /proc/self/mountinfo || { echo "unmounted $mount is not mounted"; exit 0; }
    mark=$(cat .failoverd-machine 2>/dev/null)
    [ -n "$mark" ] || [ -n "$(ls -A)" ] || { echo "empty $workspace is empty"; exit 0; }
    [ -z "$mark" ] || [ "$mark" = "$machine" ] || { echo "foreign $workspace is marked for machine $mark"; exit 0; }
    [ -n "$mark" ] || echo "$machine" > .failoverd-machine || exit 70
    cd / || exit 70
fi
if [ "$mode" != shut ]; then
    command -v rsync > /dev/null 2>&1 || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rsync; } > /dev/null 2>&1
    command -v rsync > /dev/null 2>&1 || { echo "absent rsync is missing, and could not be installed"; exit 0; }
    printf '%s\n' "$workspace" "$machine" "$mount" > "$place/vm-door.place" || exit 70
    printf '%s\n' "$door" > "$place/vm-door.new" && mv "$place/vm-door.new" "$place/vm-door.sh" || exit 70
fi
blob=$(echo "$key" | cut -d' ' -f2)
[ -n "$blob" ] || exit 71
others=$(grep -vF -- "$blob" "$keys" 2>/dev/null)
{ [ -z "$others" ] || printf '%s\n' "$others"; } > "$keys.failoverd" || exit 70
[ "$mode" = shut ] || echo "restrict,command=\"sh $place/vm-door.sh $mode\" $key" >> "$keys.failoverd" || exit 70
mv "$keys.failoverd" "$keys" && echo "open $mode"
"""
PREPARE = r"""
mkdir -p "$1" && cd "$1" && chmod 755 . || exit 70
need=; for one in rsync ssh; do command -v $one > /dev/null 2>&1 || need=1; done
[ -z "$need" ] || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends rsync openssh-client; } > /dev/null 2>&1
umask 077
[ -s key.pub ] || { rm -f key key.pub; ssh-keygen -q -t ed25519 -N '' -C failoverd-vm -f key < /dev/null; } || exit 71
cat key.pub
"""
COMMON = r"""
sshopts="ssh -i $place/key -p $port -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=$place/known_hosts -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
fail() { echo "failed $id 0 0 $1 $2" > result.new; mv result.new result; exit 1; }
why() { tail -n 3 job.log | tr '\n' ' ' | tail -c 300; }
count() { find "$1" -type f -printf '%s\n' | awk '{n++; s+=$1} END {printf "%d %.0f", n, s}'; }
"""
PULL = (
    r"""
place=$1 id=$2 user=$3 host=$4 port=$5 machine=$6 share=$7 smaller=$8
cd "$place" || exit 70
"""
    + COMMON
    + r"""
if [ -d staging ]; then rm -rf partial; mv staging partial || fail broken "the staging tree is stuck"; fi
mkdir -p staging/tree copies || fail broken "no room for a copy"
alike=
[ ! -d current/tree ] || alike="--link-dest=$place/current/tree"
[ ! -d partial/tree ] || alike="$alike --link-dest=$place/partial/tree"
rsync -aH --numeric-ids --delete $alike -e "$sshopts" "$user@$host:/" staging/tree/ >> job.log 2>&1
status=$?
[ $status = 0 ] || [ $status = 24 ] || fail pull "rsync ended with status $status: $(why)"
[ "$(cat staging/tree/.failoverd-machine 2>/dev/null)" = "$machine" ] || fail unmarked "it does not bear the mark of machine $machine"
set -- $(count staging/tree)
files=$1 bytes=$2
[ "$files" -gt 1 ] || fail empty "there is nothing in it"
about=current/about; [ -e $about ] || about=partial/about
read -r before_files before_bytes < $about 2>/dev/null || { before_files=0; before_bytes=0; }
if [ "$smaller" = no ]; then
    [ $((files * 100)) -ge $((before_files * share)) ] && [ $((bytes * 100)) -ge $((before_bytes * share)) ] ||
        fail shrunk "$files files with $bytes bytes, where there were $before_files with $before_bytes"
fi
echo "$files $bytes" > staging/about
[ ! -e serving ] || fail serving "the copy serves"
rm -rf "copies/$id"; mv staging "copies/$id" || fail broken "it could not be put in its place"
ln -sfn "copies/$id" current.new && mv -Tf current.new current || fail broken "it could not be made the current one"
rm -rf partial
for one in copies/*; do [ "$one" = "copies/$id" ] || rm -rf "$one"; done
echo "done $id $files $bytes" > result.new; mv result.new result
"""
)
CARRY = (
    r"""
place=$1 id=$2 user=$3 host=$4 port=$5
cd "$place" || exit 70
"""
    + COMMON
    + r"""
for round in 1 2 3; do
    rsync -aH --numeric-ids --delete -e "$sshopts" current/tree/ "$user@$host:/" >> job.log 2>&1 || fail carry "rsync ended with status $?: $(why)"
    differ=$(rsync -aHnci --numeric-ids --delete -e "$sshopts" current/tree/ "$user@$host:/" 2>> job.log) || fail carry "it could not be compared: $(why)"
    [ -n "$differ" ] || break
done
[ -z "$differ" ] || fail differs "it keeps changing: $(echo "$differ" | head -n 1)"
echo "done $id $(count current/tree)" > result.new; mv result.new result
"""
)
STOP = r"""
# One command at a time, and none of an earlier failover after one of a later: its sender was overtaken.
enter() {
    mkdir -p "$place" && cd "$place" || exit 70; exec 9> lock && flock -w 20 9 || exit 75
    groups=/sys/fs/cgroup; [ ! -e $groups/unified/cgroup.procs ] || groups=$groups/unified
    group=; [ ! -e $groups/cgroup.procs ] || group="$groups/failoverd$(echo "$place" | tr / -)"
}
is_outdated() {
    seen=$(cat fence 2> /dev/null); [ "$1" -ge "${seen:-0}" ] || return 0
    [ "$1" = "${seen:-0}" ] || { echo "$1" > fence.new && mv fence.new fence; } || exit 70
    return 1
}
boot() { cat /proc/sys/kernel/random/boot_id; }
# Whatever the workload has become by exec or left behind in the background: what is in its cgroup, what bears its mark in
# the environment, and what is in its session, unless that number has begun anew since.
workload_pids() {
    booted=; session=; began=; [ ! -s workload.session ] || read -r booted session began < workload.session
    {
        [ -z "$group" ] || find "$group" -name cgroup.procs -exec cat {} +
        grep -lzsxF -- "FAILOVERD_WORKLOAD=$place" /proc/[0-9]*/environ | cut -d/ -f3
        [ -z "$session" ] || [ "$booted" != "$(boot)" ] || cat /proc/[0-9]*/stat | awk -v session="$session" -v began="$began" '
            { pid = $1; sub(/^.*[)] /, "") }
            pid == session && $20 != began { other = 1 }
            $1 != "Z" && $4 == session { found[pid] }
            END { if (!other) for (pid in found) print pid }'
    } 2> /dev/null | awk '$1 > 1' | sort -un
}
# False where something of it is left.
stop_workload() {
    left=$(workload_pids); asked=$(date +%s)
    [ -z "$left" ] || kill -TERM $left 2> /dev/null
    while [ -n "$left" ] && [ $(($(date +%s) - asked)) -lt 15 ]; do
        sleep 0.1; left=$(workload_pids)
        [ $(($(date +%s) - asked)) -ge 10 ] && [ -n "$left" ] || continue
        [ -z "$group" ] || { echo 1 > "$group/cgroup.kill"; } 2> /dev/null
        kill -KILL $left 2> /dev/null
    done
    [ -z "$left" ] || return 1
    rm -f workload.session; [ ! -d "$group" ] || rmdir "$group" 2> /dev/null
    return 0
}
is_written() { [ -e serving ] && [ -n "$(find current/tree/ -cnewer serving \( -type f -o -type d -o -type l \) -print -quit)" ]; }
unstopped() { echo "unstopped its workload does not end: processes" $left; }
end_service() {
    stop_workload || return 1
    [ ! -s served-at ] || { served=$(cat served-at); [ ! -L "$served" ] || case $(readlink "$served") in "$place"/*) rm -f "$served" ;; esac; }
    # What was written is no copy of the machine's workspace: it only saves the next pull what is alike.
    ! is_written || { tree=$(readlink current); rm -rf partial; rm -f current && mv "$tree" partial; }
    rm -f serving served-at workload
}
job_runs() { job=$(cat job.pid 2>/dev/null); [ -n "$job" ] && grep -qs failoverd-copy "/proc/$job/cmdline"; }
end_job() { if job_runs; then kill -KILL "-$job" 2>/dev/null; fi; rm -f job.pid; }
"""
ASK = (
    STOP
    + r"""
kind=$1; place=$2; fence=$3; id=$4; user=$5; host=$6; port=$7; host_key=$8; machine=$9; share=${10}; smaller=${11}; job_text=${12}
enter
if is_outdated "$fence"; then echo "failed $id 0 0 outdated a later failover has been here"; exit 0; fi
if job_runs; then echo "running $(cat job.id)"; exit 0; fi
if [ -e result ] && [ "$(cut -d' ' -f2 result)" = "$id" ]; then cat result; ! grep -q ^failed result || rm -f result job.id; exit 0; fi
if [ "$(cat job.id 2>/dev/null)" = "$id" ]; then echo "failed $id 0 0 ended it ended before its end"; rm -f job.id; exit 0; fi
[ "$kind" = pull ] || [ -d current/tree ] || { echo "failed $id 0 0 no_copy there is no good copy"; exit 0; }
if [ "$kind" = pull ]; then end_service; else stop_workload; fi || { echo "failed $id 0 0 $(unstopped)"; exit 0; }
umask 022
case $port in 22) name=$host ;; *) name="[$host]:$port" ;; esac
echo "$name $host_key" > known_hosts; rm -f result; echo "$id" > job.id; : > job.log
setsid sh -c "$job_text" failoverd-copy "$place" "$id" "$user" "$host" "$port" "$machine" "$share" "$smaller" >> job.log 2>&1 < /dev/null 9>&- &
echo $! > job.pid
echo "running $id"
"""
)
SERVE = (
    STOP
    + r"""
place=$1; fence=$2; workspace=$3; machine=$4; keys=$5
enter
if is_outdated "$fence"; then echo "outdated a later failover has been here"; exit 0; fi
[ "$(cat current/tree/.failoverd-machine 2>/dev/null)" = "$machine" ] || { echo "no_copy there is no good copy of machine $machine"; exit 0; }
: > serving.new
end_job
tree="$place/$(readlink current)/tree"
if [ -L "$workspace" ] || [ ! -e "$workspace" ] || rmdir "$workspace" 2>/dev/null; then
    mkdir -p "${workspace%/*}/" && ln -sfn "$tree" "$workspace" || { echo "broken $workspace cannot be made"; exit 0; }
else
    echo "broken $workspace is something else on the VM"; exit 0
fi
echo "$workspace" > served-at
umask 077; cat > workload.new && mv workload.new workload; umask 022
if [ -e serving ]; then rm -f serving.new; else touch serving.new && mv serving.new serving; fi
home=$HOME; [ -z "$SUDO_USER" ] || home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
if [ -n "$keys" ] && mkdir -p "$home/.ssh"; then
    echo "$keys" | while read -r one; do grep -qsxF -- "$one" "$home/.ssh/authorized_keys" || echo "$one" >> "$home/.ssh/authorized_keys"; done
fi
if [ -s workload ] && [ -z "$(workload_pids)" ]; then
    (
        [ -z "$group" ] || { mkdir -p "$group" && echo 0 > "$group/cgroup.procs"; } 2> /dev/null
        export FAILOVERD_WORKLOAD="$place"
        cd "$workspace" && exec setsid sh -c '. "$0"' "$place/workload" failoverd-workload
    ) > "$place/workload.log" 2>&1 < /dev/null 9>&- &
    echo "$(boot) $! $(sed 's/^.*) //' "/proc/$!/stat" 2> /dev/null | cut -d' ' -f20)" > workload.session
fi
echo "serving"
"""
)
END = (
    STOP
    + r"""
place=$1; fence=$2; unless_written=$3
[ -d "$place" ] || { echo ended; exit 0; }
enter
if is_outdated "$fence"; then echo "outdated a later failover has been here"; exit 0; fi
stop_workload || { unstopped; exit 0; }
if [ "$unless_written" = yes ] && is_written; then echo written; exit 0; fi
end_job; end_service || { unstopped; exit 0; }
echo ended
"""
)
