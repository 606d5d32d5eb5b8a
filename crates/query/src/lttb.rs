//! Largest-Triangle-Three-Buckets (Steinarsson, "Downsampling Time Series for Visual Representation", 2013): the points of a
//! series that keep its shape for the eye.

/// The indices of the points to keep, ascending: the first, the last, and of each of `points_max − 2` equal buckets between them
/// the one that spans the largest triangle with the point kept before it and the mean of the next bucket.
pub(crate) fn keep(points: &[(f64, f64)], points_max: usize) -> Vec<usize> {
    let len = points.len();
    if len <= points_max {
        return (0..len).collect();
    }
    match points_max {
        0 => return Vec::new(),
        1 => return vec![0],
        2 => return vec![0, len - 1],
        _ => {}
    }
    let width = (len - 2) as f64 / (points_max - 2) as f64;
    let bound = |bucket: usize| ((bucket as f64 * width) as usize + 1).min(len - 1);
    let mut kept = Vec::with_capacity(points_max);
    let mut last = 0;
    kept.push(0);
    for bucket in 0..points_max - 2 {
        let (start, end) = (bound(bucket), bound(bucket + 1));
        let next = &points[end..bound(bucket + 2).max(end + 1).min(len)];
        let mean = next.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        let mean = (mean.0 / next.len() as f64, mean.1 / next.len() as f64);
        let area = |index: usize| {
            let (a, b) = (points[last], points[index]);
            ((a.0 - mean.0) * (b.1 - a.1) - (a.0 - b.0) * (mean.1 - a.1)).abs()
        };
        // The first of equal areas, as the reference does.
        let mut best = (start, f64::MIN);
        for index in start..end {
            let area = area(index);
            if area > best.1 {
                best = (index, area);
            }
        }
        last = best.0;
        kept.push(last);
    }
    kept.push(len - 1);
    kept
}
