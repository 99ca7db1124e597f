//! Accepts connections: a bounded number, with time limits, and an orderly shutdown.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::app::{App, closed};
use super::router::router;
use super::write_timeout::WriteTimeout;

/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 32 << 10;
/// Pause after the system could not accept a connection, for example because no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound address.
pub struct Server {
    listener: TcpListener,
}

/// How the connections ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainResult {
    /// Every request got its response.
    Complete,
    /// The time was over before; this many connections were cut.
    Cut(usize),
}

impl Server {
    /// Binds an address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is in use, or does not belong to this machine.
    pub async fn bind(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        Ok(Server { listener })
    }

    /// The bound address.
    ///
    /// # Errors
    /// The system does not report it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `end` completes. Then it accepts no new connections, ends those that follow output, and gives
    /// requests in progress time to finish (`grace`).
    pub async fn serve(self, app: App, end: impl Future<Output = ()>, grace: Duration) -> DrainResult {
        let most = app.config().connections;
        let places = Arc::new(Semaphore::new(most));
        let router = router(&app);
        let mut end = pin!(end);
        loop {
            // Wait for a free slot first: further clients wait in the system's queue, which is bounded.
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (self.listener.accept().await, place)
            };
            tokio::select! {
                biased;
                () = &mut end => break,
                (accepted, place) = accepted => match (accepted, place) {
                    (Ok((stream, _)), Ok(place)) => {
                        let (app, router) = (app.clone(), router.clone());
                        tokio::spawn(converse(stream, place, app, router));
                    }
                    (Err(error), _) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                    // The semaphore is never closed.
                    (_, Err(_)) => break,
                },
            }
        }
        drop(self.listener);
        app.close();
        let all = u32::try_from(most).unwrap_or(u32::MAX);
        let drained = timeout(grace, places.acquire_many(all)).await;
        match drained {
            Ok(_) => DrainResult::Complete,
            Err(_) => DrainResult::Cut(most.saturating_sub(places.available_permits())),
        }
    }
}

/// Serves one connection.
async fn converse(stream: TcpStream, _place: OwnedSemaphorePermit, app: App, router: Router) {
    // Send small responses at once. If this fails, they are only slower.
    let _ = stream.set_nodelay(true);
    let config = app.config();
    let stream = TokioIo::new(WriteTimeout::new(stream, config.write_timeout));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(stream, TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let mut closing = app.closing();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closed(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients may disconnect at any time.
        tracing::debug!(%error, "a connection broke off");
    }
}
