# SPDX-License-Identifier: GPL-2.0-or-later
# busybox's shell and applets that it runs inside itself; no fork, no files but /tmp's.
i=0
while [ $i -lt 200 ]; do i=$((i + 1)); done
echo "$i" "$((i * i % 37))" "${HOME:+home}"
f() { local x=$1; case $x in [0-9]*) echo number ;; a*) echo "a: ${x#a}" ;; *) echo other ;; esac; }
f 12; f abc; f zzz
printf '%05d %s %x\n' 42 text 255
set -- one two three
echo $# "$3" "$*"
echo written >/tmp/file
read line </tmp/file
echo "$line"
test -d /proc/self && echo proc
trap 'echo bye' EXIT
