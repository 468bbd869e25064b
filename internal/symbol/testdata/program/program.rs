// A program whose symbols have each form that Rust names take: see corpus_test.go.
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

mod inner {
    pub mod deep {
        pub struct Parser<T> {
            pub items: Vec<T>,
        }
        impl<T: Clone> Parser<T> {
            #[inline(never)]
            pub fn parse(&mut self, item: T) -> usize {
                self.items.push(item.clone());
                let count = |n: usize| n + self.items.len();
                count(1)
            }
        }
        impl Parser<u8> {
            #[inline(never)]
            pub fn bytes(&self) -> u64 {
                self.items.iter().map(|&b| b as u64).sum()
            }
        }
    }
}

use inner::deep::Parser;

trait Shape {
    fn area(&self) -> f64;
    fn twice(&self) -> f64 {
        self.area() * 2.0
    }
}

struct Square(f64);

impl Shape for Square {
    #[inline(never)]
    fn area(&self) -> f64 {
        self.0 * self.0
    }
}

impl<T: Shape> Shape for [T] {
    #[inline(never)]
    fn area(&self) -> f64 {
        self.iter().map(|s| s.area()).sum()
    }
}

impl Shape for (u8, u8) {
    #[inline(never)]
    fn area(&self) -> f64 {
        f64::from(self.0) * f64::from(self.1)
    }
}

impl fmt::Debug for Square {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Drop for Square {
    #[inline(never)]
    fn drop(&mut self) {
        println!("gone");
    }
}

const fn table() -> [u8; 4] {
    [1, 2, 3, 4]
}

#[inline(never)]
fn apply<F: Fn(&dyn Shape) -> f64>(f: F, shapes: &[Box<dyn Shape>]) -> f64 {
    shapes.iter().map(|s| f(s.as_ref())).fold(0.0, |a, b| a + b)
}

fn main() {
    let mut parser = Parser { items: Vec::new() };
    let mut words = Parser { items: vec![String::from("a")] };
    let mut map: HashMap<String, VecDeque<u32>> = HashMap::new();
    map.entry("k".into()).or_default().extend([1, 2, 3]);
    let tree: BTreeMap<_, _> = (0..9).map(|n| (n, n.to_string())).collect();
    let shapes: Vec<Box<dyn Shape>> = vec![Box::new(Square(2.0)), Box::new((1u8, 2u8))];
    let total = apply(|s| s.twice(), &shapes) + [Square(1.0)].area();
    let worker = std::thread::spawn(move || table().iter().map(|&n| u32::from(n)).sum::<u32>());
    println!("{} {} {} {:?} {:?} {}", parser.parse(1u8), words.parse("b".into()), parser.bytes(), map, tree, total);
    println!("{:?} {:?}", worker.join().unwrap(), Square(3.0));
}
