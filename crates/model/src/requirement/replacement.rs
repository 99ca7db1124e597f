//! Packages that people name although another one is meant: what to write instead.

/// The usual replacement of a package without wheels, and why; the name is in normal form.
pub fn replacement(name: &str) -> Option<(&'static str, &'static str)> {
    REPLACEMENTS
        .iter()
        .find(|(asked, ..)| *asked == name)
        .map(|(_, instead, why)| (*instead, *why))
}

const SAME: &str = "is the same with compiled files";
const RENAMED: &str = "is its name on the index";
const FORK: &str = "is a maintained fork";

/// Sorted by the first column.
const REPLACEMENTS: [(&str, &str, &str); 20] = [
    ("bs4", "beautifulsoup4", RENAMED),
    ("cv2", "opencv-python-headless", RENAMED),
    ("docopt", "docopt-ng", FORK),
    ("dotenv", "python-dotenv", RENAMED),
    ("fitz", "pymupdf", RENAMED),
    ("image", "pillow", RENAMED),
    ("levenshtein", "rapidfuzz", "has wheels for the same distances"),
    ("mysql-python", "mysqlclient", "is its successor"),
    (
        "mysqlclient",
        "pymysql",
        "speaks the same protocol and needs no compiler",
    ),
    ("opencv", "opencv-python-headless", RENAMED),
    ("pil", "pillow", "is its successor"),
    ("psycopg2", "psycopg2-binary", SAME),
    ("pycrypto", "pycryptodome", FORK),
    ("pyqt5-tools", "pyqt5", "holds the library itself"),
    ("python-ldap", "ldap3", "needs no compiler"),
    ("python-levenshtein", "rapidfuzz", "has wheels for the same distances"),
    ("skimage", "scikit-image", RENAMED),
    ("sklearn", "scikit-learn", RENAMED),
    ("uwsgi", "pyuwsgi", SAME),
    ("yaml", "pyyaml", RENAMED),
];
