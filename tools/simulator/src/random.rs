//! Seeded chance, the same on every machine: integers and the four operations of IEEE numbers only, because the
//! logarithms of two C libraries may differ in their last digit, and one digit changes a whole history.

/// A stream of random numbers. Streams of one seed and different labels have nothing to do with each other.
#[derive(Debug, Clone)]
pub struct Random(u64);

/// Step of the counter: 2^64 ÷ the golden ratio, odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The stream of this seed and label.
    #[must_use]
    pub fn new(seed: u64, label: u64) -> Self {
        Self(mix(seed ^ mix(label.wrapping_mul(STEP))))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A whole number below `bound`; 0 if the bound is 0. The bias is below one in 2^32 for bounds below that.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or_default()
    }

    /// A number in [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of the standard normal distribution, nearly: the sum of twelve, so never beyond ±6.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// The time to the next event of a Poisson process whose events have this mean distance.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * ln(1.0 - self.unit())
    }

    /// A number whose logarithm is normal: half of them are below `median`, two thirds within a factor of e^`spread`.
    pub fn log_normal(&mut self, median: f64, spread: f64) -> f64 {
        median * exp(spread * self.normal())
    }
}

/// Every bit of the result depends on every bit of the input.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Natural logarithm of a positive number.
#[must_use]
pub fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    if x <= f64::MIN_POSITIVE {
        return -708.0;
    }
    let bits = x.to_bits();
    let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or_default() - 1023;
    let mantissa = f64::from_bits((bits & MANTISSA) | (1023 << 52));
    let (mantissa, exponent) = match mantissa > std::f64::consts::SQRT_2 {
        true => (mantissa / 2.0, exponent + 1),
        false => (mantissa, exponent),
    };
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..12).rev().fold(0.0, |sum, n| sum * square + 1.0 / f64::from(2 * n + 1));
    2.0 * s * series + f64::from(exponent) * std::f64::consts::LN_2
}

/// e to the power of `x`, for powers that are neither huge nor tiny.
#[must_use]
pub fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let twos = (x / std::f64::consts::LN_2).round();
    let rest = x - twos * std::f64::consts::LN_2;
    let series = (1..=16).rev().fold(1.0, |sum, n| 1.0 + sum * rest / f64::from(n));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 2046")]
    let power = f64::from_bits(((twos as i64 + 1023) as u64) << 52);
    series * power
}

/// Which of several things, each as often as its weight says.
#[derive(Debug, Clone)]
pub struct Weighted {
    /// Sums of the weights up to each.
    sums: Vec<f64>,
}

impl Weighted {
    /// Things of these weights; negative ones count as none.
    pub fn new(weights: impl Iterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        let sums = weights.map(|weight| {
            sum += weight.max(0.0);
            sum
        });
        Self { sums: sums.collect() }
    }

    /// `count` things of which the n-th is asked for as often as 1 ÷ n^`exponent`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of things")]
    pub fn zipf(count: usize, exponent: f64) -> Self {
        Self::new((1..=count).map(|rank| exp(-exponent * ln(rank as f64))))
    }

    /// One of them; 0 if there are none.
    pub fn pick(&self, random: &mut Random) -> usize {
        let point = random.unit() * self.sums.last().copied().unwrap_or_default();
        self.sums.partition_point(|sum| *sum <= point).min(self.sums.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_and_powers_are_right_to_the_tenth_digit() {
        for x in [1e-9, 0.3, 0.999, 1.0, 1.5, 2.0, 10.0, 12_345.6, 1e12] {
            assert!((ln(x) - f64::ln(x)).abs() < 1e-10 * f64::ln(x).abs().max(1.0), "ln {x}");
        }
        for x in [-20.0, -1.0, -1e-3, 0.0, 0.5, 1.0, 3.3, 25.0] {
            assert!((exp(x) / f64::exp(x) - 1.0).abs() < 1e-10, "exp {x}");
        }
    }

    #[test]
    fn numbers_are_spread_as_they_say() {
        let mut random = Random::new(7, 0);
        let count = 20_000;
        let mean = |numbers: Vec<f64>| numbers.iter().sum::<f64>() / f64::from(count);
        assert!((mean((0..count).map(|_| random.unit()).collect()) - 0.5).abs() < 0.01);
        assert!((mean((0..count).map(|_| random.exponential(3.0)).collect()) - 3.0).abs() < 0.1);
        assert!(mean((0..count).map(|_| random.normal()).collect()).abs() < 0.03);
        let below = (0..count).filter(|_| random.log_normal(10.0, 0.5) < 10.0).count();
        assert!((9_700..10_300).contains(&below), "{below}");
        assert!((0..count).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn the_first_of_zipf_is_asked_for_twice_as_often_as_the_second() {
        let zipf = Weighted::zipf(1000, 1.0);
        let mut random = Random::new(1, 0);
        let picks: Vec<usize> = (0..100_000).map(|_| zipf.pick(&mut random)).collect();
        let count = |thing| picks.iter().filter(|pick| **pick == thing).count();
        let [first, second] = [count(0), count(1)];
        assert!((1.9..2.1).contains(&(first as f64 / second as f64)), "{first} and {second}");
        assert!(picks.iter().all(|pick| *pick < 1000));
        assert_eq!(Weighted::new(std::iter::empty()).pick(&mut random), 0);
    }

    #[test]
    fn seeds_and_labels_make_other_streams() {
        let first = |seed, label| Random::new(seed, label).bits();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(1, 3));
        assert_ne!(first(1, 2), first(2, 2));
    }
}
