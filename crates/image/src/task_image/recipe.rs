//! Where an image comes from and what it is called.

/// What the image is made from, in the checkout.
pub const FOLDER: &str = "images/nix-portable-base";
/// What the image is called; its tag is a hash of what it is made of.
pub const REPOSITORY: &str = "nix-portable-base";
