# Builder: one link for each applet of busybox, so that the other builders find them in PATH.
"$builder" mkdir -p "$out/bin"
for applet in $("$builder" --list); do "$builder" ln -s "$builder" "$out/bin/$applet"; done
