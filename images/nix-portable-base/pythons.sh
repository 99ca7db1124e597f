#!/bin/sh
# Finishes the further interpreters: puts them at their place in the root file system, makes byte-code, and checks in there that
# each of them works: its libraries come from the image, whatever machine it was taken from.
set -eu
export PYTHONHASHSEED=0
here=$(dirname "$0")
root=/image
place=/usr/local/python
mkdir -p "$root$place"

fail() {
    echo "error: Python $version cannot be used in the image: $1" >&2
    echo "hint: uv's own Pythons bring their libraries: \`cargo xtask tools --python-version ${version%.*}.N\` downloads a newer one" >&2
    exit 1
}

# Nothing is mounted at /proc in there, from which the loader learns where a program is.
inside() {
    LD_ORIGIN_PATH=$folder/bin chroot "$root" "$@"
}

while read -r version name; do
    folder=$place/$version
    program=$folder/bin/$name
    cp -R "/pythons/$version" "$root$folder"
    for link in python3 python; do ln -s "$name" "$root$folder/bin/$link"; done

    # Nobody needs these modules enough to have the libraries that a machine may have for them.
    for file in "$root$folder/lib/$name"/lib-dynload/*.so "$root$folder"/lib/*.so* "$root$program"; do
        [ -e "$file" ] || continue
        missing=$(inside /usr/bin/ldd "${file#"$root"}" 2>&1 | grep 'not found' | head -n 1 || true)
        [ -z "$missing" ] && continue
        case ${file##*/} in
            nis.* | _gdbm.* | _dbm.* | ossaudiodev.*) rm "$file" ;;
            *) fail "${file##*/} needs what the image does not have:$missing" ;;
        esac
    done

    said=$(inside "$program" -B -I -c '
import importlib, os, pathlib, sys
assert sys.prefix == sys.base_prefix == sys.argv[1], sys.prefix
for file in sorted(pathlib.Path(os.__file__).with_name("lib-dynload").glob("*.so")):
    importlib.import_module(file.name.split(".")[0])
import ctypes, hashlib, json, ssl, venv, zlib
assert ssl.create_default_context().cert_store_stats()["x509_ca"] > 100, "it finds no certificates"
ctypes.CDLL(None).getpid()' "$folder" 2>&1) || fail "$(echo "$said" | tail -n 1)"

    # As for the image's own: see assemble.sh.
    inside "$program" -B -s -m compileall -q -f --invalidation-mode unchecked-hash "$folder/lib/$name"
    inside "$program" -B -I - <"$here/probe.py" >"$root/etc/hybrid-cache/python-$version.json"
done </pythons/list
