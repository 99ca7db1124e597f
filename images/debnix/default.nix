# debnix: a package set for machines that reach only a Debian mirror. Each package is made of pinned Debian packages (pins.json);
# nix's own fetcher downloads them and one static busybox unpacks them: no nixpkgs, no compiler, no shell of the machine.
#   nix build -f default.nix gcc --argstr mirror "$MIRROR" --arg busybox /path/to/busybox --no-link --print-out-paths
{ mirror                                # base address of a Debian mirror, from the machine's own apt settings
, busybox                               # a static busybox with ar, tar and xz (Debian's busybox-static); its file is called "busybox"
, system ? builtins.currentSystem
, pins ? builtins.fromJSON (builtins.readFile ./pins.json)
}:
let
  inherit (builtins) attrNames concatStringsSep elem filter foldl' groupBy head length listToAttrs map mapAttrs match replaceStrings;

  cpu = head (match "([a-z0-9_]+)-linux" system);
  inherit (pins.arch.${cpu} or (throw "debnix has no packages for ${system}")) debs set;
  triplet = "${cpu}-linux-gnu";
  loader = { x86_64 = "ld-linux-x86-64.so.2"; aarch64 = "ld-linux-aarch64.so.1"; }.${cpu};

  # busybox chooses its applet by the name it was started under, so the store path is a folder with a file of that name
  tools = builtins.path { path = dirOf busybox; name = "busybox"; filter = path: type: baseNameOf path == "busybox"; };
  build = name: script: attrs: derivation ({
    inherit name system triplet loader;
    builder = "${tools}/busybox";
    args = [ "sh" "-eu" script ];
    PATH = applets;
    busybox = "${tools}/busybox";
  } // attrs);
  applets = "${derivation { inherit system; name = "busybox-applets"; builder = "${tools}/busybox"; args = [ "sh" "-eu" ./applets.sh ]; }}/bin";

  # nix starts what is ready in the order of names: the largest downloads must not be the last to begin
  urgency = deb: if deb.size > 4000000 then "a" else if deb.size > 1000000 then "b" else "c";
  plain = replaceStrings [ "+" "~" "%" ] [ "p" "-" "-" ];
  fetch = package: let deb = debs.${package}; in import <nix/fetchurl.nix> {
    url = "${mirror}/${replaceStrings [ "+" "%" ] [ "%2b" "%25" ] deb.path}";
    inherit (deb) sha256;
    name = "${urgency deb}-${plain package}.deb";
  };
  unpack = name: packages: attrs: build name ./unpack.sh ({ debs = map fetch packages; } // attrs);

  isLibrary = package: match "lib.*|zlib1g" package != null && match ".*-(dev|bin|minimal|stdlib|common|mgc)" package == null;

  # Libraries that exactly the same attributes use make one store path: few paths to build, register and search at run
  # time, and still nothing is stored twice and no attribute brings a library that it does not use.
  users = package: filter (attribute: elem package set.${attribute}) (attrNames set);
  libraries = filter isLibrary (attrNames debs);
  shared = mapAttrs (key: packages: unpack "libs-${plain (head packages)}" packages { })
    (groupBy (package: concatStringsSep "," (users package)) (filter (package: users package != [ ]) libraries));
  libraryOf = listToAttrs (map (package: { name = package; value = shared.${concatStringsSep "," (users package)}; }) libraries);
  unique = foldl' (seen: path: if elem path seen then seen else seen ++ [ path ]) [ ];
  librariesOf = packages: unique (map (package: libraryOf.${package}) (filter isLibrary packages));

  libc = libraryOf.libc6;
  # what turns a freshly unpacked program into one that runs from the store alone
  linking = packages: {
    inherit libc;
    libs = librariesOf packages;
    patchelf = unpack "patchelf-deb" [ "patchelf" ] { };
    patchelfLibs = librariesOf set.patchelf;
  };

  # an ordinary tool: its own packages unpacked into one path, its programs linked to the shared libraries
  tool = attribute: _: unpack attribute (filter (package: ! isLibrary package) set.${attribute})
    (linking set.${attribute} // { inherit attribute; finish = ./tool.sh; });

  # a library with its headers: nothing in it runs
  library = attribute: packages: unpack attribute (filter isDev packages) { libs = librariesOf packages; finish = ./library.sh; };
  isDev = package: match ".*-dev" package != null;
  hasTools = packages: filter (package: ! isLibrary package && ! isDev package) packages != [ ];

  # The compiler is unpacked as several paths side by side, because most of its time goes into decompression; the
  # attribute itself only says where each piece is.
  compiler =
    let
      piece = name: packages: unpack "gcc-${name}" packages (linking set.gcc // { attribute = "gcc-${name}"; finish = ./tool.sh; });
    in build "gcc" ./gcc.sh {
      inherit libc;
      binutils = packages.binutils;
      cc1 = piece "a-c" [ "cpp-12" ];
      cc1plus = piece "a-cplusplus" [ "g++-12" ];
      driver = piece "a-driver" [ "gcc-12" ];
      sysroot = unpack "gcc-sysroot" (filter isDev set.gcc) {
        finish = ./sysroot.sh;
        libs = librariesOf set.gcc;
        inherit libc;
      };
      runtime = unique (map (package: libraryOf.${package}) [ "libc6" "libgcc-s1" "libstdc++6" "libgomp1" "libatomic1" ]);
    };

  package = attribute: packages: (if hasTools packages then tool else library) attribute packages;
  packages = mapAttrs package (removeAttrs set [ "gcc" ]) // { gcc = compiler; };
in
packages
