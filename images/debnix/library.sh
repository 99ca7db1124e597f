# Finishes a library with its headers in $out: its links lead to $libs, and compilers, pkg-config and cmake look below include
# and lib.
folder=usr/lib/$triplet
for link in "$folder"/lib*.so; do
  if [ ! -L "$link" ]; then continue; fi
  target=$(readlink "$link")
  for path in $libs; do
    for place in "$path/lib/$triplet" "$path/usr/lib/$triplet"; do
      if [ ! -e "$place/${target##*/}" ]; then continue; fi
      # a program that is linked to it looks for the name with the version
      for file in "$place/${link##*/}".*; do ln -sfn "$file" "$folder/${file##*/}"; done
      ln -sfn "$place/${target##*/}" "$link"
    done
  done
  if [ ! -e "$link" ]; then echo "$link leads nowhere" >&2; exit 1; fi
done
# what pkg-config says also lets a program find the library when it starts
find usr/lib usr/share -name '*.pc' 2>/dev/null | while read -r file; do
  sed -i -e "s|^prefix=.*|prefix=$out/usr|" -e 's|^Libs:|Libs: -Wl,-rpath,${libdir}|' "$file"
done
ln -s usr/include include
ln -s "$folder" lib
