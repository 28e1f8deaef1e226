//! Plots as SVG text: lines over time and bars over a logarithmic axis.

use std::fmt::Write;

/// The drawing area, in SVG units; the axes' labels lie outside of it.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;

/// One line of a plot.
pub(super) struct Line<'a> {
    /// Its name in the legend.
    pub(super) name: &'a str,
    /// Its colour's CSS class.
    pub(super) class: &'a str,
    /// Its points.
    pub(super) points: Vec<(f64, f64)>,
}

/// A vertical axis.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    fn linear(most: f64) -> Axis {
        Axis { low: 0.0, high: nice(most), log: false }
    }

    fn log(least: f64, most: f64) -> Axis {
        let low = 10_f64.powf(least.max(1.0).log10().floor());
        let high = 10_f64.powf(most.max(10.0).log10().ceil());
        Axis { low, high: high.max(low * 10.0), log: true }
    }

    /// 0 at the low end, 1 at the high one.
    fn part(self, value: f64) -> f64 {
        let part = if self.log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        part.clamp(0.0, 1.0)
    }

    fn ticks(self) -> Vec<f64> {
        if !self.log {
            return (0..=4).map(|k| self.high * f64::from(k) / 4.0).collect();
        }
        let decades = (self.high / self.low).log10().round() as i32;
        (0..=decades).map(|k| self.low * 10_f64.powi(k)).collect()
    }
}

/// The next number at or above that reads well.
fn nice(most: f64) -> f64 {
    let unit = 10_f64.powf(most.max(1e-3).log10().floor());
    [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * unit)
        .find(|step| *step >= most)
        .unwrap_or(unit * 10.0)
}

/// Lines over time. `unit` makes a label of a value on the vertical axis.
pub(super) fn over_time(lines: &[Line<'_>], log: bool, unit: impl Fn(f64) -> String) -> String {
    let values = || lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let most = values().fold(0.0, f64::max);
    let least = values().filter(|value| *value > 0.0).fold(most.max(1.0), f64::min);
    let axis = if log { Axis::log(least, most) } else { Axis::linear(most) };
    let end = lines.iter().flat_map(|line| &line.points).map(|point| point.0).fold(0.0, f64::max);
    let end = if end > 0.0 { end } else { 1.0 };
    let mut svg = frame(axis, &unit);
    for k in 0..=5 {
        let at = end * f64::from(k) / 5.0;
        x_label(&mut svg, at / end, &format!("{at:.1} s"));
    }
    for line in lines {
        let mut path = String::new();
        for (at, value) in &line.points {
            // Writing into a string can't fail.
            let _ = write!(path, "{:.1},{:.1} ", LEFT + at / end * WIDTH, y(axis.part(*value)));
        }
        let _ = write!(svg, "<polyline class=\"line {}\" points=\"{}\"/>", line.class, path.trim_end());
    }
    svg.push_str("<line class=\"cursor\" y1=\"12\" y2=\"232\" x1=\"-9\" x2=\"-9\"/></svg>");
    let mut legend = String::from("<p class=\"legend\">");
    for line in lines {
        let _ = write!(legend, "<span><i class=\"{}\"></i>{}</span>", line.class, line.name);
    }
    legend.push_str("</p>");
    legend + &svg
}

/// Bars of equal width; each has a label for its upper bound and a number.
pub(super) fn bars(bins: &[(String, u64)]) -> String {
    let most = bins.iter().map(|bin| bin.1).max().unwrap_or(1);
    let axis = Axis::log(1.0, most as f64);
    let mut svg = frame(axis, &|value| format!("{value:.0}"));
    let width = WIDTH / bins.len().max(1) as f64;
    let every = bins.len().div_ceil(9).max(1);
    for (k, (label, count)) in bins.iter().enumerate() {
        let x = LEFT + k as f64 * width;
        // A single one is on the axis of a logarithmic scale; it still shows.
        let height = if *count == 0 { 0.0 } else { (axis.part(*count as f64) * HEIGHT).max(2.0) };
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\">\
             <title>up to {label}: {count}</title></rect>",
            x + 0.5,
            TOP + HEIGHT - height,
            (width - 1.0).max(0.5),
        );
        if k % every == 0 {
            x_label(&mut svg, (k as f64 + 1.0) * width / WIDTH, label);
        }
    }
    svg.push_str("</svg>");
    svg
}

fn y(part: f64) -> f64 {
    TOP + HEIGHT * (1.0 - part)
}

fn frame(axis: Axis, unit: &dyn Fn(f64) -> String) -> String {
    let mut svg = format!(
        "<svg viewBox=\"0 0 {:.0} {:.0}\" data-left=\"{LEFT}\" data-width=\"{WIDTH}\" role=\"img\">",
        LEFT + WIDTH + 30.0,
        TOP + HEIGHT + BOTTOM
    );
    for tick in axis.ticks() {
        let at = y(axis.part(tick));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"y\" x=\"{:.0}\" y=\"{:.1}\">{}</text>",
            LEFT + WIDTH,
            LEFT - 8.0,
            at + 4.0,
            unit(tick)
        );
    }
    svg
}

fn x_label(svg: &mut String, part: f64, label: &str) {
    let _ = write!(
        svg,
        "<text class=\"x\" x=\"{:.1}\" y=\"{:.0}\">{label}</text>",
        LEFT + part * WIDTH,
        TOP + HEIGHT + 20.0
    );
}
