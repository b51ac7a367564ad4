//! The tuning that a device begins with.

use crate::gpu::Tuning;
use crate::layout::Layout;

/// A large GPU is filled, and there one workgroup adds the sums of large vectors; no other device takes a dispatch
/// for that.
#[test]
fn a_tuning_fits_the_kind_of_device() {
    use wgpu::DeviceType::{Cpu, DiscreteGpu, IntegratedGpu, Other, VirtualGpu};
    let kinds = [(Cpu, 32), (IntegratedGpu, 256), (Other, 256), (VirtualGpu, 1024)];
    for (kind, workgroups) in kinds.into_iter().chain([(DiscreteGpu, 1024)]) {
        let tuning = Tuning::of(kind);
        let tiles = |len| Layout::flat(len).unwrap().tiled(&tuning).tiles();
        assert_eq!((tuning.workgroups, tiles(1 << 26)), (workgroups, workgroups as usize));
        assert_eq!(tuning.workgroup_size, 256);
        assert_eq!(tuning.stream_width, if kind == Cpu { 8 } else { 256 });
        assert!(tiles(1 << 20) <= tuning.reread_tiles as usize);
        assert_eq!(workgroups > tuning.reread_tiles, workgroups == 1024);
    }
}

/// What a file leaves out has the value that all tunings had before it was a setting.
#[test]
fn old_files_are_read() {
    let text = r#"{"workgroup_size": 128, "workgroups": 16, "subgroups": false}"#;
    let read: Tuning = serde_json::from_str(text).unwrap();
    let expected = Tuning { workgroup_size: 128, workgroups: 16, ..Tuning::default() };
    assert_eq!(read, Tuning { stream_width: 8, ..expected });
}
