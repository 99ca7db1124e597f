# Finishes the compiler's sysroot in $out: headers and start files are there, the run-time libraries become links.
for path in $libs; do
  for folder in "lib/$triplet" "usr/lib/$triplet"; do
    if [ -d "$path/$folder" ]; then
      mkdir -p "$folder"
      for file in "$path/$folder"/*; do
        name=${file##*/}
        if [ ! -e "$folder/$name" ] && [ ! -L "$folder/$name" ]; then ln -s "$file" "$folder/$name"; fi
      done
    fi
  done
done
mkdir -p lib64
ln -s "$libc/lib/$triplet/$loader" lib64/
ln -s "$libc/lib/$triplet/$loader" "lib/$loader" 2>/dev/null || true
# static run-times of the sanitizers are two thirds of the bytes, and their shared ones are left out too
rm -f usr/lib/gcc/*/12/lib[alt]san* usr/lib/gcc/*/12/libubsan*
