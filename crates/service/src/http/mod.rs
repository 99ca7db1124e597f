//! The HTTP side of the service: the API, probes, metrics, its reference, and the pages for people.
//!
//! `server` accepts connections and `middleware` surrounds every request: access, a deadline, headers, and the body of an
//! error. `router` lists the paths; `tasks`, `logs` and `operate` answer them. `rejection` turns errors into problem
//! documents. Every queue has a bound and every wait a deadline; [`HttpConfig`] holds both.

mod app;
mod body;
mod caller;
mod config;
mod description;
mod durations;
mod follow;
mod guard;
mod logs;
mod memory;
mod middleware;
pub mod openapi;
mod operate;
mod prometheus;
mod query;
mod reference;
mod rejection;
mod response_cache;
mod router;
mod server;
mod session;
mod tasks;
mod tokens;
mod write_timeout;

pub use app::App;
pub use config::{Access, AccessError, HttpConfig};
pub use description::OPENAPI;
pub use server::{DrainResult, Server};
pub use session::Sessions;
pub use tokens::{TokenFaults, Tokens};

pub(crate) use body::{ReceivedBody, read as read_body};
pub(crate) use caller::Own;
pub(crate) use memory::hold;
pub(crate) use query::list as list_query;
pub(crate) use rejection::Rejection;
pub(crate) use tasks::{Params, id_in};
