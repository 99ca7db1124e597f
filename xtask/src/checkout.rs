//! Finds the checkout that this program belongs to.

use std::path::Path;

use hybrid_cache_tools::{Checkout, Result};

/// The checkout that this program was built in.
pub fn checkout() -> Result<Checkout> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Checkout::open(root.unwrap_or(Path::new(".")))
}
