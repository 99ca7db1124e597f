//! What the claims are called.

use hybrid_cache_sizing::Volume;

/// The name of the claim that tasks mount for a volume.
pub fn claim_name(volume: Volume) -> &'static str {
    match volume {
        Volume::Python => "uv-cache-pvc",
        Volume::System => "nix-store-pvc",
    }
}
