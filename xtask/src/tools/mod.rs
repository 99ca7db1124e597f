//! Finds the tools that a local run needs, or brings them, pinned and verified, into the checkout's `.tools` folder.
pub mod apt;
pub mod download;
pub mod error;
pub mod pins;
pub mod progress;
