//! Several tests at once: Holm's correction, which bounds the chance of even one false verdict among them.

/// Holm's adjusted p-values, in the order of `p`: those at or below a level may be rejected together at that level.
/// It needs no independence (Holm, *Scand. J. Statist.* 6, 1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|one, other| p[*one].total_cmp(&p[*other]));
    let mut adjusted = vec![1.0; p.len()];
    let mut largest = 0.0f64;
    for (step, at) in order.into_iter().enumerate() {
        largest = largest.max((p.len() - step) as f64 * p[at]).min(1.0);
        adjusted[at] = largest;
    }
    adjusted
}
