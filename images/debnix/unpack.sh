# Builder: unpacks the packages $debs into $out, without what only a person reads, then runs $finish there if it is given.
umask 022
mkdir "$out"

unpack() {
  member=$(ar t "$1" | grep '^data\.tar')
  case $member in
    *.xz) unxz=xz ;;
    *.gz) unxz=gzip ;;
    *) echo "$1: cannot unpack its $member" >&2; return 1 ;;
  esac
  # busybox's sh has no pipefail: a failed decompressor leaves a short archive, which tar reports
  ar p "$1" "$member" | $unxz -dc | tar -xo -C "$out"
}

for deb in $debs; do unpack "$deb"; done
cd "$out"
rm -rf usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/lintian usr/share/bug usr/share/gdb usr/share/bash-completion \
  usr/share/emacs usr/share/vim usr/share/applications usr/share/icons usr/share/pixmaps usr/share/menu \
  usr/lib/*/gconv usr/lib/*/audit usr/lib/*/perl* usr/share/perl* etc/init.d etc/cron.daily etc/apt var

if [ -n "${finish:-}" ]; then . "$finish"; fi
