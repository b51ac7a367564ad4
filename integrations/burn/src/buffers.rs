//! Burn's tensors as wgpu buffers, and wgpu buffers as Burn's tensors.

use std::any::Any;

use burn::backend::Cube;
use burn::backend::wgpu::{CubeTensor, WgpuResource};
use burn::cubecl::client::Client;
use burn::cubecl::server::Handle;
use burn::cubecl::wgpu::{AutoCompiler, WgpuServer};
use burn::tensor::{DType, Device, Shape, Tensor};
use dimer::GpuSlice;

use crate::error::{Error, Result, device};

/// A tensor's memory, which Burn neither frees nor hands out again while this is alive.
pub(crate) struct Pinned {
    pub slice: GpuSlice,
    _resource: Box<dyn Any + Send>,
}

impl Pinned {
    /// Pins the elements of `tensor`, one after another; copies them only where they are not.
    pub(crate) fn new<const D: usize>(tensor: Tensor<D>) -> Result<Self> {
        let elements = tensor.shape().num_elements();
        let mut cube = into_cube(tensor)?;
        if !cube.is_contiguous() {
            cube = into_cube(from_cube::<D>(cube).reshape([elements]))?;
        }
        Self::of(&cube.client, cube.handle, 4 * elements as u64)
    }

    fn of(client: &Client, handle: Handle, bytes: u64) -> Result<Self> {
        let resource = client.get_resource::<WgpuServer<AutoCompiler>>(handle).map_err(device)?;
        let WgpuResource { buffer, offset, size, .. } = resource.resource();
        if *size < bytes {
            return Err(Error::Device(format!("a tensor of {bytes} bytes lies in {size}")));
        }
        let slice = GpuSlice { buffer: buffer.clone(), offset: *offset, size: bytes };
        Ok(Self { slice, _resource: Box::new(resource) })
    }
}

/// A padded vector in memory of Burn, whose slots are tensors of Burn.
pub(crate) struct FlatVector {
    cube: CubeTensor,
    bytes: u64,
    pinned: Pinned,
}

impl FlatVector {
    /// Allocates a vector by itself: in a page of a pool, gradients could lie in the same buffer, and
    /// wgpu binds no buffer for reading and writing at once.
    pub(crate) fn new(device: &Device, bytes: u64) -> Result<Self> {
        let CubeTensor { client, device, .. } =
            into_cube(Tensor::<1>::zeros([1], &device.clone().inner()))?;
        let handle = client.memory_dedicated_allocation((), |()| client.empty(bytes as usize));
        let pinned = Pinned::of(&client, handle.clone(), bytes)?;
        let shape = Shape::from([bytes as usize / 4]);
        let cube = CubeTensor::new_contiguous(client, device, shape, handle, DType::F32);
        Ok(Self { cube, bytes, pinned })
    }

    /// The vector as the optimizer binds it.
    pub(crate) fn slice(&self) -> &GpuSlice {
        &self.pinned.slice
    }

    /// The slot of `tensor` as a tensor of Burn. That the vector keeps a handle to the same memory
    /// stops Burn from writing a result over it.
    pub(crate) fn view<const D: usize>(&self, tensor: &dimer::Tensor) -> Tensor<D> {
        let (begin, bytes) = (4 * tensor.offset as u64, 4 * tensor.len as u64);
        let handle = self.cube.handle.clone();
        let handle = handle.offset_start(begin).offset_end(self.bytes - begin - bytes);
        from_cube(CubeTensor::new_contiguous(
            self.cube.client.clone(),
            self.cube.device.clone(),
            Shape::from(tensor.shape.clone()),
            handle,
            DType::F32,
        ))
    }
}

#[cfg(not(feature = "fusion"))]
fn into_cube<const D: usize>(tensor: Tensor<D>) -> Result<CubeTensor> {
    tensor.inner().try_into_primitive::<Cube>().map_err(|error| Error::Device(format!("{error:?}")))
}

#[cfg(not(feature = "fusion"))]
fn from_cube<const D: usize>(cube: CubeTensor) -> Tensor<D> {
    Tensor::from_primitive::<Cube>(cube)
}

/// With fusion, the operations that a tensor waits for run first.
#[cfg(feature = "fusion")]
fn into_cube<const D: usize>(tensor: Tensor<D>) -> Result<CubeTensor> {
    let primitive = tensor.inner().try_into_primitive::<Cube>();
    let lazy = primitive.map_err(|error| Error::Device(format!("{error:?}")))?;
    let client = lazy.client.clone();
    Ok(client.resolve_tensor_float::<burn::backend::wgpu::CubeBackend>(lazy))
}

/// With fusion, a tensor is the output of an operation: here one that only names its memory.
#[cfg(feature = "fusion")]
fn from_cube<const D: usize>(cube: CubeTensor) -> Tensor<D> {
    use burn::backend::TensorMetadata;
    use burn::backend::fusion::{NoOp, get_client};
    use burn::backend::ir::{InitOperationIr, OperationIr, OperationOutput};
    use burn::backend::wgpu::CubeBackend;
    use burn::tensor::StreamId;

    let client = get_client::<CubeBackend>(&cube.device);
    let (shape, dtype) = (cube.shape(), cube.dtype);
    let init = InitOperationIr::create(shape, dtype, || client.register_tensor_handle(cube.into()));
    let operation = NoOp::<CubeBackend>::new();
    let outputs = client.register(StreamId::current(), OperationIr::Init(init), operation);
    Tensor::from_primitive::<Cube>(outputs.output())
}
