# Finishes an unpacked tool in $out: its programs are linked to the libraries in $libs, and $out/bin holds what a user calls.
ld=$libc/lib/$triplet/$loader

folders() { # the library folders of some store paths, as one search path
  found=
  for path in "$@"; do
    for folder in "$path/lib/$triplet" "$path/usr/lib/$triplet"; do
      if [ -d "$folder" ]; then found=$found${found:+:}$folder; fi
    done
  done
  echo "$found"
}

patchelf_path=$(folders $patchelfLibs)
edit() { "$ld" --library-path "$patchelf_path" "$patchelf/usr/bin/patchelf" "$@"; }

is_program() {
  case $1 in *.so | *.so.* | *.o | *.a | *.sh | *.py | *.pl) return 1 ;; esac
  # command substitution drops NUL bytes; the first four of an ELF file hold none
  [ "$(head -c 4 "$1")" = "$(printf '\177ELF')" ] && edit --print-interpreter "$1" >/dev/null 2>&1
}

case $attribute in
  gcc-*) rm -f usr/bin/*-lto-dump-* usr/bin/*-gcov-dump-* usr/bin/*-gcov-tool-*; rm -rf usr/lib/gcc/*/12/plugin ;;
  binutils) rm -f usr/bin/*gprofng* usr/bin/*-gp-*; rm -rf usr/lib/*/gprofng ;;
esac

rpath=$(folders $libs)
programs=
for folder in bin sbin usr/bin usr/sbin usr/lib/git-core usr/lib/gcc usr/libexec; do
  if [ -d "$folder" ]; then programs="$programs $folder"; fi
done
if [ -n "$programs" ]; then
  find $programs -type f -perm -100 | while read -r file; do
    if is_program "$file"; then edit --set-interpreter "$ld" --force-rpath --set-rpath "$rpath" "$file"; fi
  done
fi

# a link to an absolute path would lead to the machine's own files
find . -type l | while read -r link; do
  target=$(readlink "$link")
  case $target in
    /nix/store/*) ;;
    /*) if [ -e ".$target" ]; then ln -sfn "$out$target" "$link"; else rm "$link"; fi ;;
  esac
done

mkdir -p bin
launcher() { # launcher NAME LINE…: a script that runs the lines
  name=$1; shift
  rm -f "bin/$name"
  { echo "#!$busybox sh"; printf '%s\n' "$@"; } > "bin/$name"
  chmod 755 "bin/$name"
}
for file in usr/bin/* usr/sbin/*; do
  name=${file##*/}
  if [ -f "$file" ] && [ ! -e "bin/$name" ]; then ln -s "../$file" "bin/$name"; fi
done

case $attribute in
  git)
    launcher git "export GIT_EXEC_PATH=$out/usr/lib/git-core GIT_TEMPLATE_DIR=$out/usr/share/git-core/templates" \
      "exec $out/usr/bin/git \"\$@\"" ;;
  curl | wget)
    # the machine's own bundle comes first, because it may hold a proxy's authority
    cat usr/share/ca-certificates/mozilla/*.crt > ca-bundle.crt
    rm -rf usr/share/ca-certificates
    bundle="bundle=\${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}; [ -r \"\$bundle\" ] || bundle=$out/ca-bundle.crt"
    if [ "$attribute" = curl ]; then
      launcher curl "$bundle" "export CURL_CA_BUNDLE=\"\${CURL_CA_BUNDLE:-\$bundle}\"" "exec $out/usr/bin/curl \"\$@\""
    else
      launcher wget "$bundle" "exec $out/usr/bin/wget --ca-certificate=\"\$bundle\" \"\$@\""
    fi ;;
  file)
    launcher file "export MAGIC=\"\${MAGIC:-$out/usr/lib/file/magic.mgc}\"" "exec $out/usr/bin/file \"\$@\"" ;;
  pkg-config) ln -sf pkgconf bin/pkg-config ;;
  bash) ln -sf bash bin/sh ;;
  gawk) ln -sf gawk bin/awk ;;
esac
