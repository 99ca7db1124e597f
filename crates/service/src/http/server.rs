//! Accepting connections: so many at one time, none of which may dawdle, and an orderly end.

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
/// Pause after the system could not accept a connection (no file descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound address.
pub struct Server {
    listener: TcpListener,
}

/// How the connections came to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainResult {
    /// Every request had its answer.
    Complete,
    /// The grace was over before; so many connections were cut.
    Cut(usize),
}

impl Server {
    /// Binds an address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is taken, or not one of this machine.
    pub async fn bind(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        Ok(Server { listener })
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `end` says so, then takes no new connections, ends what follows output, and gives the requests under
    /// way so much grace.
    pub async fn serve(self, app: App, end: impl Future<Output = ()>, grace: Duration) -> DrainResult {
        let most = app.config().connections;
        let places = Arc::new(Semaphore::new(most));
        let router = router(&app);
        let mut end = pin!(end);
        loop {
            // A place first: who cannot be served yet waits in the system's queue, which is bounded.
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
                    // Nobody closes the semaphore.
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

/// One connection from its beginning to its end.
async fn converse(stream: TcpStream, _place: OwnedSemaphorePermit, app: App, router: Router) {
    // Small answers are to leave at once. Without it they are only slower.
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
        // Clients go away as they like; that is nobody's failure.
        tracing::debug!(%error, "a connection broke off");
    }
}
