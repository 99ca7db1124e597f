//! Gathers the facts and judges them.

use hybrid_cache_tools::{Checkout, Result};

use crate::doctor::checks::judge;
use crate::doctor::finding::Finding;
use crate::doctor::gather;
use crate::options::DoctorOptions;

/// Checks everything, in the order in which a person would fix things.
///
/// # Errors
/// The name cannot be a cluster's, or the checkout is incomplete.
pub async fn examine(checkout: &Checkout, options: &DoctorOptions) -> Result<Vec<Finding>> {
    let facts = gather::facts(checkout, options).await?;
    Ok(judge(&facts))
}
