//! Asks a service whether it accepts tasks: its container has no other program that could.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest response that is read, in bytes; a good one has about 200.
const ANSWER_BYTES: u64 = 4096;

/// Requests `/readyz`. Each step may take `timeout`.
///
/// # Errors
/// The service cannot be reached, or reports that it is not ready.
pub fn probe(address: SocketAddr, within: Duration) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, within).map_err(failed)?;
    stream.set_read_timeout(Some(within)).map_err(failed)?;
    stream.set_write_timeout(Some(within)).map_err(failed)?;
    let port = address.port();
    let request = format!("GET /readyz HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).map_err(failed)?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    let answer = String::from_utf8_lossy(&answer);
    let said = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Err(format!("{address} is not ready: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_probe_accepts_only_a_ready_response() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n{}", Ok(())),
            ("HTTP/1.1 503 x\r\n\r\nfull", Err("is not ready: full")),
            ("", Err("is not ready: ")),
        ] {
            let asked = std::thread::spawn(move || probe(address, Duration::from_secs(5)));
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 512];
            let count = stream.read(&mut head).unwrap();
            assert!(head[..count].starts_with(b"GET /readyz "));
            stream.write_all(answer.as_bytes()).unwrap();
            drop(stream);
            let reported = asked.join().unwrap();
            match expected {
                Ok(()) => assert_eq!(reported, Ok(())),
                Err(what) => assert!(reported.unwrap_err().ends_with(what)),
            }
        }
        drop(listener);
        assert!(probe(address, Duration::from_secs(5)).is_err());
    }
}
