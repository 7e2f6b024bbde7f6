//! Lines in a coordinate system, as SVG that stands in a page.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 28.0;
/// Points of a line, at most; more cannot be told apart.
const MAX_POINTS: usize = 700;

/// One line: its name, and its points in order of x.
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// What is drawn.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What stands below the x axis.
    pub(super) x: &'static str,
    /// Where x is labelled, and with what; round values where there is nothing.
    pub(super) x_ticks: Vec<(f64, String)>,
    pub(super) series: Vec<Series>,
}

impl Chart {
    /// As a figure; nothing if there are no points.
    pub(super) fn render(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x_most =
            points().map(|point| point.0).chain(self.x_ticks.iter().map(|tick| tick.0)).fold(0.0, f64::max);
        let y_step = step(points().map(|point| point.1).fold(0.0, f64::max));
        let y_most = (points().map(|point| point.1).fold(0.0, f64::max) / y_step).ceil().max(1.0) * y_step;
        if points().next().is_none() || x_most <= 0.0 {
            return String::new();
        }
        let at_x = |x: f64| LEFT + x / x_most * (WIDTH - LEFT - RIGHT);
        let at_y = |y: f64| HEIGHT - BOTTOM - y / y_most * (HEIGHT - BOTTOM - TOP);
        let mut svg = format!(
            "<figure><figcaption>{}{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.title,
            self.legend(),
            self.title
        );
        for line in 0..=(y_most / y_step).round() as u32 {
            let value = f64::from(line) * y_step;
            let y = at_y(value);
            let _ = write!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{}\"/>", WIDTH - RIGHT);
            let _ = write!(
                svg,
                "<text class=\"y\" x=\"{}\" y=\"{:.1}\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                label(value)
            );
        }
        for (x, text) in self.ticks(x_most) {
            let (x, y) = (at_x(x), HEIGHT - BOTTOM + 16.0);
            let _ = write!(svg, "<text class=\"x\" x=\"{x:.1}\" y=\"{y}\">{text}</text>");
        }
        for (number, series) in self.series.iter().enumerate() {
            let mut path = String::new();
            for (x, y) in thinned(&series.points) {
                let verb = if path.is_empty() { 'M' } else { 'L' };
                let _ = write!(path, "{verb}{:.1} {:.1}", at_x(x), at_y(y));
            }
            let _ = write!(
                svg,
                "<path class=\"line s{number}\" d=\"{path}\"><title>{}</title></path>",
                series.name
            );
            if let [(x, y)] = series.points.as_slice() {
                let _ = write!(
                    svg,
                    "<circle class=\"s{number}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                    at_x(*x),
                    at_y(*y)
                );
            }
        }
        svg + "</svg></figure>"
    }

    fn legend(&self) -> String {
        let names = self.series.iter().enumerate();
        names
            .map(|(number, series)| format!(" <span class=\"key s{number}\">{}</span>", series.name))
            .collect()
    }

    fn ticks(&self, most: f64) -> Vec<(f64, String)> {
        if !self.x_ticks.is_empty() {
            return self.x_ticks.clone();
        }
        let step = step(most);
        let ticks = (0..=(most / step) as u32).map(|tick| f64::from(tick) * step);
        ticks.map(|value| (value, format!("{}{}", label(value), self.x))).collect()
    }
}

/// The distance of about five lines up to here: 1, 2 or 5 times a power of ten.
fn step(most: f64) -> f64 {
    if !most.is_finite() || most <= 0.0 {
        return 1.0;
    }
    let rough = most / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
    factor * power
}

fn label(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", shortest(value / 1e6)),
        value if value >= 1e4 => format!("{}k", shortest(value / 1e3)),
        value => shortest(value),
    }
}

fn shortest(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Of too many points the highest of each group: what was worst is not hidden.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(MAX_POINTS).max(1);
    points
        .chunks(group)
        .filter_map(|some| some.iter().copied().max_by(|one, two| one.1.total_cmp(&two.1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> String {
        let series = vec![Series { name: "rate", points }];
        Chart { title: "t", x: " s", x_ticks: Vec::new(), series }.render()
    }

    #[test]
    fn lines_stay_within_the_picture() {
        let svg = chart((0..5000).map(|x| (f64::from(x), f64::from(x % 97) * 1e4)).collect());
        let path = svg.split("class=\"line s0\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        let mut count = 0;
        for point in path.split(['M', 'L']).filter(|point| !point.is_empty()) {
            let (x, y) = point.split_once(' ').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y), "{point}");
            count += 1;
        }
        assert!(count <= MAX_POINTS);
    }

    #[test]
    fn odd_figures_are_drawn_too() {
        assert_eq!(chart(Vec::new()), "");
        assert!(chart(vec![(1.0, 0.0)]).contains("<circle"));
        assert!(!chart(vec![(0.5, 1e-9), (1.0, 1e12)]).contains("NaN"));
    }

    #[test]
    fn axes_have_round_labels() {
        assert_eq!([0.7, 23.0, 450.0, 23_848.0].map(step), [0.2, 5.0, 100.0, 5000.0]);
        assert_eq!([0.2, 1500.0, 25_000.0, 2.5e6].map(label), ["0.2", "1500", "25k", "2.5M"]);
    }
}
