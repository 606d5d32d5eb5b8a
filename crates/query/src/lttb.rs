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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn ends_and_peaks_stay() {
        let mut points: Vec<(f64, f64)> = (0..100).map(|x| (f64::from(x), 0.0)).collect();
        points[42].1 = 9.0;
        let kept = keep(&points, 10);
        assert_eq!((kept.len(), kept[0], kept[9]), (10, 0, 99));
        assert!(kept.contains(&42) && kept.is_sorted());
        for points_max in 0..4 {
            assert_eq!(keep(&points, points_max).len(), points_max);
        }
        assert_eq!(keep(&points[..5], 5), [0, 1, 2, 3, 4]);
    }

    /// Series with the indices that the reference implementation keeps.
    #[test]
    fn the_reference_keeps_the_same_points() {
        let Some(folder) = std::env::var_os("TIDEWATER_REAL_DATA") else {
            eprintln!("skipped: TIDEWATER_REAL_DATA is not set");
            return;
        };
        let path = std::path::Path::new(&folder).join("vectors/lttb.json.gz");
        let file = std::fs::File::open(path).expect("the vectors are there");
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
        let series: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for (name, series) in series.as_object().expect("series by name") {
            let number = |value: &serde_json::Value| value.as_f64().expect("a number");
            let points = series["points"].as_array().expect("points");
            let points: Vec<(f64, f64)> =
                points.iter().map(|point| (number(&point[0]), number(&point[1]))).collect();
            for (points_max, kept) in series["kept"].as_object().expect("kept indices by number") {
                let kept: Vec<usize> =
                    kept.as_array().expect("indices").iter().map(|index| number(index) as usize).collect();
                assert_eq!(keep(&points, points_max.parse().expect("a number")), kept, "{name} {points_max}");
            }
        }
    }
}
