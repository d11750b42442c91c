//! An image goes through the network without a single allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use mobilenet::{Clamp, Isa, Layer, Network, Padding, Precision};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises us.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises us.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn none_allocated() {
    let (padding, clamp) = (Padding { top: 1, left: 1, bottom: 1, right: 1 }, Clamp::RELU6);
    let (weight, bias) = (vec![0.1; 16 * 27], vec![0.0; 16]);
    let layers = [
        Layer::Stem { weight, bias, stride: 2, padding, clamp },
        Layer::Depthwise { weight: vec![0.1; 144], bias: vec![0.0; 16], stride: 1, padding, clamp },
        Layer::Pointwise { weight: vec![0.1; 512], bias: vec![0.0; 32], clamp },
    ];
    let network = Network::new(&layers, [64, 64], Isa::best(), Precision::F32).unwrap();
    let (mut scratch, image, mut features) = (network.scratch(), vec![0.5; 64 * 64 * 3], vec![0.0; 32]);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    network.forward(&image, &mut scratch, &mut features);
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before);
    assert!(features[0] > 0.0);
}
