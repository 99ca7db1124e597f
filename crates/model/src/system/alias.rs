//! Common names of packages, mapped to those of nixpkgs.

/// Friendly name, in lower case, and the attributes it stands for. Names that are the same on both sides stand here
/// where people write them with capitals.
pub(super) const ALIASES: [(&str, &[&str]); 57] = [
    ("make", &["gnumake"]),
    ("gmake", &["gnumake"]),
    ("gcc", &["gcc"]),
    ("g++", &["gcc"]),
    ("cc", &["gcc"]),
    ("c++", &["gcc"]),
    ("build-essential", &["gcc", "gnumake", "binutils"]),
    ("pkgconfig", &["pkg-config"]),
    ("pkgconf", &["pkg-config"]),
    ("pkg_config", &["pkg-config"]),
    ("cmake", &["cmake"]),
    ("git", &["git"]),
    ("curl", &["curl"]),
    ("wget", &["wget"]),
    ("python", &["python3"]),
    ("python3", &["python3"]),
    ("node", &["nodejs"]),
    ("npm", &["nodejs"]),
    ("node.js", &["nodejs"]),
    ("golang", &["go"]),
    ("golang-go", &["go"]),
    ("ninja-build", &["ninja"]),
    ("tar", &["gnutar"]),
    ("sed", &["gnused"]),
    ("grep", &["gnugrep"]),
    ("awk", &["gawk"]),
    ("xz-utils", &["xz"]),
    ("ssh", &["openssh"]),
    ("openssh-client", &["openssh"]),
    ("dig", &["dnsutils"]),
    ("sqlite3", &["sqlite"]),
    ("java", &["jdk"]),
    ("javac", &["jdk"]),
    ("r", &["R"]),
    ("dot", &["graphviz"]),
    ("ffprobe", &["ffmpeg"]),
    ("convert", &["imagemagick"]),
    ("7z", &["p7zip"]),
    ("7zip", &["p7zip"]),
    ("p7zip-full", &["p7zip"]),
    ("gpg", &["gnupg"]),
    ("find", &["findutils"]),
    ("xargs", &["findutils"]),
    ("diff", &["diffutils"]),
    ("ld", &["binutils"]),
    ("strace", &["strace"]),
    ("ffmpeg", &["ffmpeg"]),
    ("graphviz", &["graphviz"]),
    ("imagemagick", &["imagemagick"]),
    ("pandoc", &["pandoc"]),
    ("rust", &["rustc", "cargo"]),
    ("bzip2", &["bzip2"]),
    ("zip", &["zip"]),
    ("unzip", &["unzip"]),
    ("jq", &["jq"]),
    ("zlib1g-dev", &["zlib"]),
    ("zlib-devel", &["zlib"]),
];

/// The attributes that a name stands for, if it is known by another name.
pub(super) fn targets(name: &str) -> Option<Vec<String>> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, targets)) = ALIASES.iter().find(|(alias, _)| *alias == lower) {
        return Some(targets.iter().map(|target| (*target).to_owned()).collect());
    }
    versioned(&lower).map(|target| vec![target])
}

/// Names with a version as other systems write them: `python3.11` is `python311`, `gcc-13` is `gcc13`.
fn versioned(name: &str) -> Option<String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (tool, version) = name.rsplit_once(['.', '-'])?;
    match tool {
        "python3" if digits(version) => Some(format!("python3{version}")),
        "gcc" | "g++" if digits(version) => Some(format!("gcc{version}")),
        "clang" | "nodejs" if digits(version) => Some(format!("{tool}_{version}")),
        _ => None,
    }
}
