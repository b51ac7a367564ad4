//! The UCI digits: 1,797 images of 8×8 pixels, shuffled and split.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Pixels of one image.
pub const PIXELS: usize = 64;

/// Digits.
pub const CLASSES: usize = 10;

/// Images kept back for the test accuracy.
const TEST: usize = 360;

/// Images and their digits.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// Pixels in [0, 1], image by image.
    pub pixels: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Images {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The same images, each pixel less its mean over all.
    #[allow(dead_code, reason = "not every example needs it")]
    pub fn centred(mut self) -> Self {
        let count = self.len() as f64;
        for pixel in 0..PIXELS {
            let here = self.pixels.iter().skip(pixel).step_by(PIXELS);
            let mean = (here.map(|&x| f64::from(x)).sum::<f64>() / count) as f32;
            self.pixels.iter_mut().skip(pixel).step_by(PIXELS).for_each(|x| *x -= mean);
        }
        self
    }

    fn push(&mut self, line: &str) {
        let mut numbers = line.split(',').map(|number| number.parse::<u8>().expect("a pixel"));
        self.labels.push(numbers.next().expect("a digit").into());
        self.pixels.extend(numbers.map(|pixel| f32::from(pixel) / 16.0));
    }
}

/// Training and test images; the split is the same for every run.
pub fn load() -> (Images, Images) {
    let mut lines: Vec<&str> = include_str!("../data/digits.csv").lines().collect();
    lines.shuffle(&mut StdRng::seed_from_u64(0));
    let (mut train, mut test) = (Images::default(), Images::default());
    let (first, rest) = lines.split_at(TEST);
    first.iter().for_each(|line| test.push(line));
    rest.iter().for_each(|line| train.push(line));
    (train, test)
}

/// The first images of the file, in its order.
#[allow(dead_code, reason = "not every example needs it")]
pub fn first(count: usize) -> Images {
    let mut images = Images::default();
    include_str!("../data/digits.csv").lines().take(count).for_each(|line| images.push(line));
    images
}

/// Endless minibatches: each epoch visits every image once in a new order.
pub struct Minibatches {
    order: Vec<u32>,
    next: usize,
    rng: StdRng,
}

impl Minibatches {
    pub fn new(images: usize, seed: u64) -> Self {
        let order = (0..images as u32).collect();
        Self { order, next: images, rng: StdRng::seed_from_u64(seed) }
    }

    /// The images of the next minibatch.
    pub fn draw(&mut self, size: usize) -> Vec<u32> {
        if self.next + size > self.order.len() {
            self.order.shuffle(&mut self.rng);
            self.next = 0;
        }
        self.next += size;
        self.order[self.next - size..self.next].to_vec()
    }
}
