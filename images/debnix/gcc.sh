# Builder: gcc and g++ as launchers over the pieces that were unpacked side by side.
mkdir -p "$out/bin" "$out/lib"
version=12
own=usr/lib/gcc/$triplet/$version
ld=$libc/lib/$triplet/$loader
rpath=
for path in $runtime; do
  for folder in "$path/lib/$triplet" "$path/usr/lib/$triplet"; do
    if [ -d "$folder" ]; then rpath=$rpath${rpath:+:}$folder; fi
  done
done

# A program it links must start wherever the store is mounted, whatever C library the machine has. A shared object
# must not: it is loaded into a process that already has one.
cat > "$out/lib/specs" <<END
*link:
+ %{!static:%{!static-pie:%{!shared:%{!r:-dynamic-linker $ld --disable-new-dtags -rpath $rpath}}}}

END

# GCC_EXEC_PREFIX is where gcc takes itself to be installed: headers, C++ ones too, and start files are found from there
launcher() { # launcher NAME PROGRAM
  cat > "$out/bin/$1" <<END
#!$busybox sh
export GCC_EXEC_PREFIX=$sysroot/usr/lib/gcc/
exec $2 --sysroot=$sysroot -specs=$out/lib/specs -B$cc1/$own -B$cc1plus/$own -B$driver/$own -B$binutils/bin "\$@"
END
  chmod 755 "$out/bin/$1"
}
for name in gcc cc "$triplet-gcc" "gcc-$version"; do launcher "$name" "$driver/usr/bin/$triplet-gcc-$version"; done
for name in g++ c++ "$triplet-g++" "g++-$version"; do launcher "$name" "$cc1plus/usr/bin/$triplet-g++-$version"; done
launcher cpp "$cc1/usr/bin/$triplet-cpp-$version"
for name in ar nm ranlib; do ln -s "$driver/usr/bin/$triplet-gcc-$name-$version" "$out/bin/gcc-$name"; done
ln -s "$driver/usr/bin/$triplet-gcov-$version" "$out/bin/gcov"
# as, ld, ar, strip… are expected beside a compiler
for file in "$binutils"/bin/*; do
  name=${file##*/}
  if [ ! -e "$out/bin/$name" ]; then ln -s "$file" "$out/bin/$name"; fi
done
