#!/bin/sh
# Puts the image's root file system together in /image: the files of the listed packages and nothing else. No package
# manager, no Perl, no compiler gets in, and whether the base had the packages or apt brings them comes to the same.
set -eu
here=$(dirname "$0")
root=/image

packages=$(sed '/^#/d' "$here/packages.task")
[ "$NIX" = debian ] && packages="$packages $(sed '/^#/d' "$here/packages.nix")"

missing=
for package in $packages; do
    case $(dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null) in
        ii*) ;;
        *) missing="$missing $package" ;;
    esac
done
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "error: the base image lacks$missing, and has no apt-get to bring them" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    # shellcheck disable=SC2086
    apt-get -qq install --yes --no-install-recommends $missing >/dev/null
    apt-get clean
fi

mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64"
for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done

# Folders are made as needed; a list would bring the base's own modes and links.
# What only a person reads is left out, and so are glibc's converters: Python has its own, UTF-8 is built in.
# shellcheck disable=SC2086
dpkg-query --listfiles $packages | sort -u | while read -r file; do
    case $file in
        /usr/share/doc/* | /usr/share/man/* | /usr/share/info/* | /usr/share/locale/* | /usr/share/lintian/* | /usr/share/bug/*) ;;
        /usr/share/perl5/* | /usr/share/bash-completion/* | /usr/share/gcc/* | /usr/share/gdb/* | /usr/share/menu/* | /usr/share/python3/*) ;;
        /usr/share/base-files/* | /usr/share/binfmts/* | /usr/share/doc-base/* | /usr/share/fish/* | /usr/share/zsh/* | /usr/lib/binfmt.d/*) ;;
        /usr/share/zoneinfo/right/* | /usr/share/zoneinfo/posix/* | /usr/share/applications/* | /usr/share/pixmaps/* | /usr/share/debianutils/* | /usr/share/common-licenses/* | /usr/share/icons/*) ;;
        *.a | */config-3.11-*/* | */libpython3.11.so | */pkgconfig/* | */gconv/* | */__pycache__/* | */nis.cpython-* | /etc/skel/* | /etc/cron* | /etc/apt/* | /etc/dpkg/* | /etc/default/* | /etc/sysctl* | /etc/nix/* | /etc/profile.d/*) ;;
        /etc/init.d/* | /etc/update-motd.d/* | /etc/motd | /etc/issue* | /usr/lib/systemd/* | /lib/systemd/* | /usr/sbin/update-*) ;;
        *) if [ ! -d "$file" ] || [ -L "$file" ]; then [ -e "$file" ] && printf '%s\n' "${file#/}"; fi || true ;;
    esac
done >/tmp/files
tar --create --file /tmp/files.tar --directory / --no-recursion --files-from /tmp/files
tar --extract --file /tmp/files.tar --directory "$root" --keep-directory-symlink

# What the packages' own scripts would have done.
ln -sf dash "$root/usr/bin/sh"
ln -sf mawk "$root/usr/bin/awk"
ln -sf which.debianutils "$root/usr/bin/which"
ln -sf python3.11 "$root/usr/bin/python3"
# Debian's own names another folder of its compiler's search path, which compilers of a store do not have.
cp "$root"/usr/include/*/python3.11/pyconfig.h "$root/usr/include/python3.11/pyconfig.h"
mkdir -p "$root/etc/ssl/certs" "$root/usr/lib/ssl" "$root/etc/hybrid-cache"
find /usr/share/ca-certificates -name '*.crt' | LC_ALL=C sort | while read -r certificate; do
    cat "$certificate"
    echo
done >"$root/etc/ssl/certs/ca-certificates.crt"
rm -rf "$root/usr/share/ca-certificates"
ln -sfn /etc/ssl/certs "$root/usr/lib/ssl/certs"
ln -sf /etc/ssl/certs/ca-certificates.crt "$root/usr/lib/ssl/cert.pem"
# Where uv's Pythons look.
ln -sf certs/ca-certificates.crt "$root/etc/ssl/cert.pem"
printf 'root:x:0:0:root:/root:/bin/sh\ntask:x:10001:10001:task:/scratch:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\ntask:x:10001:\nnogroup:x:65534:\n' >"$root/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n' >"$root/etc/nsswitch.conf"
# Tasks in a pod are in UTC, and programs find its name in either place.
ln -sf /usr/share/zoneinfo/Etc/UTC "$root/etc/localtime"
echo Etc/UTC >"$root/etc/timezone"

# A task's search path has these alone, as in the sandbox of the local driver.
mkdir -p "$root/hybrid-cache/bin"
for tool in $(sed '/^#/d; s/^[a-z-]*://' "$here/basic-tools"); do
    [ -e "$root/usr/bin/$tool" ] || { echo "error: no package brings $tool" >&2; exit 1; }
    ln -s "/usr/bin/$tool" "$root/hybrid-cache/bin/$tool"
done

# Mount points: a container with a read-only root cannot make them. /nix stays empty, the volume is mounted there.
mkdir -p "$root/nix" "$root/cache/python" "$root/scratch" "$root/handover" "$root/builds" "$root/task" "$root/volumes" \
    "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/root" "$root/tmp" "$root/var/tmp"
chmod 1777 "$root/tmp" "$root/var/tmp"

# Byte-code that neither its source's time nor an unwritable folder can make useless. -B and -f: what compileall itself
# imports would otherwise get the ordinary kind, with its source's time inside, and keep it.
PYTHONHASHSEED=0 chroot "$root" /usr/bin/python3.11 -B -P -s -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3.11

# Nothing may be missing: every library that a program or library asks for, and every module of the standard library.
find "$root/usr" -type f \( -perm -100 -o -name '*.so*' \) | sort | while read -r file; do
    case $(head -c 4 "$file" | tr -d '\177') in ELF) ;; *) continue ;; esac
    if chroot "$root" /usr/bin/ldd "${file#"$root"}" 2>/dev/null | grep 'not found'; then
        echo "error: ${file#"$root"} lacks a library; packages.task or packages.nix must name its package" >&2
        exit 1
    fi
done
chroot "$root" /usr/bin/python3.11 -B -I -c '
import asyncio, bz2, ctypes, curses, dbm.ndbm, decimal, hashlib, json, lzma, multiprocessing, pathlib, readline, sqlite3, ssl, uuid, venv, zlib, zoneinfo
assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 100
zoneinfo.ZoneInfo("Europe/Berlin")
for file in pathlib.Path("/usr/lib/python3.11").rglob("*.pyc"):
    assert file.read_bytes()[4:8] == b"\1\0\0\0", file'
chroot "$root" /usr/bin/python3.11 -B -I - <"$here/probe.py" >"$root/etc/hybrid-cache/interpreter.json"
# shellcheck disable=SC2086
dpkg-query --show --showformat='${Package} ${Version}\n' $packages | LC_ALL=C sort >"$root/etc/hybrid-cache/packages"
