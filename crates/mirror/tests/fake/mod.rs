//! An upstream on loopback whose answers a test chooses, and a client that says exactly what it got.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the upstream says to one path.
#[derive(Clone)]
pub struct Said {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The length that it claims; `None` claims the true one.
    pub claims: Option<usize>,
}

impl Said {
    pub fn of(media_type: &str, body: impl Into<Vec<u8>>) -> Said {
        Said {
            status: 200,
            headers: vec![("Content-Type", media_type.to_owned())],
            body: body.into(),
            claims: None,
        }
    }

    pub fn status(status: u16) -> Said {
        Said {
            status,
            ..Said::of("text/plain", "no")
        }
    }

    pub fn redirect(to: &str) -> Said {
        let mut said = Said::status(302);
        said.headers.push(("Location", to.to_owned()));
        said
    }

    pub fn claiming(mut self, bytes: usize) -> Said {
        self.claims = Some(bytes);
        self
    }
}

type Paths = Arc<Mutex<BTreeMap<String, Said>>>;

/// The upstream. It stops with its last user.
pub struct Upstream {
    pub address: SocketAddr,
    paths: Paths,
    log: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Upstream {
    pub fn start() -> Upstream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let upstream = Upstream {
            address: listener.local_addr().unwrap(),
            paths: Arc::default(),
            log: Arc::default(),
            stop: Arc::default(),
        };
        let (paths, log, stop) = (
            Arc::clone(&upstream.paths),
            Arc::clone(&upstream.log),
            Arc::clone(&upstream.stop),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (paths, log) = (Arc::clone(&paths), Arc::clone(&log));
                std::thread::spawn(move || answer(stream, &paths, &log));
            }
        });
        upstream
    }

    pub fn say(&self, path: &str, said: Said) {
        self.paths.lock().unwrap().insert(path.to_owned(), said);
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Every request as `path authorization`.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, paths: &Paths, log: &Mutex<Vec<String>>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let lines: Vec<String> = BufReader::new(&stream)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else {
        return;
    };
    let header = |name: &str| {
        let found = lines.iter().find_map(|line| {
            let (one, value) = line.split_once(": ")?;
            one.eq_ignore_ascii_case(name).then(|| value.to_owned())
        });
        found.unwrap_or_else(|| "-".to_owned())
    };
    log.lock().unwrap().push(format!("{path} {}", header("authorization")));
    let wants_json = header("accept").contains("+json");
    let key = if wants_json {
        format!("{path} json")
    } else {
        path.to_owned()
    };
    let paths = paths.lock().unwrap();
    let said = paths.get(&key).or_else(|| paths.get(path)).cloned();
    drop(paths);
    let said = said.unwrap_or_else(|| Said::status(404));
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", said.status);
    head += &format!("Content-Length: {}\r\n", said.claims.unwrap_or(said.body.len()));
    for (name, value) in &said.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
    let _ = stream.write_all(&said.body);
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// The body is as long as it was promised to be.
    pub is_whole: bool,
}

impl Got {
    /// What a client takes for the whole content.
    pub fn is_good(&self) -> bool {
        self.status == 200 && self.is_whole
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks for `url`, which a mirror has.
pub fn get(url: &str, headers: &[(&str, &str)]) -> Got {
    request("GET", url, headers)
}

pub fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> Got {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let end = all
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("an answer has a head");
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    headers.remove("date");
    let body = all[end + 4..].to_vec();
    let promised = headers.get("content-length").and_then(|length| length.parse().ok());
    Got {
        status,
        is_whole: promised.is_none_or(|promised: usize| promised == body.len()),
        headers,
        body,
    }
}
