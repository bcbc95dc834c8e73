/* SPDX-License-Identifier: Apache-2.0 */
/* on_device.h - the calling thread's current device, for a scope.
 *
 * A launch takes the current device's code whatever its stream is of: host code that launches or
 * asks for a kernel stands inside one of these. One implementation a target. */
#ifndef ATTN_GPU_ON_DEVICE_H
#define ATTN_GPU_ON_DEVICE_H

namespace gpu
{

class OnDevice
{
  public:
    explicit OnDevice(int id);
    ~OnDevice(); /* the one from before is current again */
    OnDevice(const OnDevice &) = delete;
    OnDevice &operator=(const OnDevice &) = delete;
    int error = 0; /* of the native runtime */

  private:
    int before_ = 0;
    bool changed_ = false;
};

} // namespace gpu

#endif /* ATTN_GPU_ON_DEVICE_H */
