// Records the response curves of aihwkit's own devices, mean and spread over cells, in aihwkit_curves.json.
//
// aihwkit's Python module reads tensors only of the torch it was compiled for; its simulator needs none. With the
// sources of aihwkit 1.1.0 in $AIHWKIT and OpenBLAS installed:
//   cd $AIHWKIT/src/rpucuda
//   g++ -std=c++17 -O1 -DRPU_USE_OPENBLAS -I. $TESTS/aihwkit_curves.cpp $(ls *.cpp | grep -v _test) -lopenblas -o curves
//   ./curves > $TESTS/aihwkit_curves.json
// The recording was made with the OpenBLAS that aihwkit's wheel bundles and declarations of its functions written by
// hand; with an installed OpenBLAS these lines have not been run.

#include "rpu_constantstep_device.h"
#include "rpu_expstep_device.h"
#include "rpu_linearstep_device.h"
#include "rpu_powstep_device.h"
#include "rpu_pulsed.h"
#include "rpu_softbounds_reference_device.h"
#include <cmath>
#include <cstdio>
#include <set>
#include <vector>

using namespace RPU;

const int COLUMNS = 1000, ROWS = 40, HALF = 60;  // 60 pulses up, then 60 down, to 40000 cells at weight 0
const std::set<int> LOOKED_AT = {1, 10, 30, 60, 61, 70, 90, 120};

template <class Device> Device spread(float dw_min) {  // SPREAD of test_memristor_aihwkit.py
  Device d;
  d.dw_min = dw_min, d.dw_min_dtod = 0.2, d.dw_min_std = 0.6, d.up_down = 0.1, d.up_down_dtod = 0.05;
  d.w_max = 1.0, d.w_min = -0.8, d.w_max_dtod = 0.1, d.w_min_dtod = 0.15;
  return d;
}

template <class Device> void record(const char *name, const Device &device, const char *end = ",") {
  PulsedMetaParameter<float> p;  // one pulse to every cell at each update
  p.up.desired_BL = 1, p.up.fixed_BL = true, p.up.update_management = false, p.up.update_bl_management = false;
  p.up.pulse_type = PulseType::StochasticCompressed;
  RPUPulsed<float> tile(COLUMNS, ROWS);
  tile.populateParameter(&p, const_cast<Device *>(&device));
  tile.setLearningRate(1.0);
  std::vector<float> w(COLUMNS * ROWS, 0.0);
  tile.setWeights(w.data());
  std::printf("  \"%s\": [", name);
  for (int k = 1; k <= 2 * HALF; k++) {
    std::vector<float> x(COLUMNS, -1.0), d(ROWS, k <= HALF ? 1.0 : -1.0);
    tile.update(x.data(), d.data());
    if (!LOOKED_AT.count(k))
      continue;
    tile.getWeights(w.data());
    double mean = 0, square = 0;
    for (float v : w)
      mean += v / w.size();
    for (float v : w)
      square += (v - mean) * (v - mean) / w.size();
    std::printf("%s[%d, %.6f, %.6f]", k == 1 ? "" : ", ", k, mean, std::sqrt(square));
  }
  std::printf("]%s\n", end);
}

int main() {
  std::printf("{\n");
  record("constant", spread<ConstantStepRPUDeviceMetaParameter<float>>(0.02));
  for (bool multiplicative : {false, true}) {
    auto d = spread<LinearStepRPUDeviceMetaParameter<float>>(0.02);
    d.ls_decrease_up = 0.4, d.ls_decrease_down = 0.6, d.ls_decrease_up_dtod = d.ls_decrease_down_dtod = 0.05;
    d.ls_mult_noise = multiplicative;
    record(multiplicative ? "linear, multiplicative noise" : "linear", d);
  }
  record("soft bounds", spread<SoftBoundsReferenceRPUDeviceMetaParameter<float>>(0.03));
  auto r = spread<SoftBoundsReferenceRPUDeviceMetaParameter<float>>(0.1);
  r.dw_min_dtod = 0.5, r.dw_min_dtod_log_normal = true, r.subtract_symmetry_point = true, r.reference_std = 0.05;
  record("soft bounds, reference", r);
  auto e = spread<ExpStepRPUDeviceMetaParameter<float>>(0.01);
  e.es_A_up = -1.18445, e.es_A_down = -0.081404, e.es_gamma_up = e.es_gamma_down = 5, e.es_a = e.es_b = -0.5;
  record("exponential", e);
  e.dw_min_std_add = 0.01, e.dw_min_std_slope = 0.02;
  record("exponential, noise of three terms", e);
  auto p = spread<PowStepRPUDeviceMetaParameter<float>>(0.04);
  p.ps_gamma = 1.5, p.ps_gamma_dtod = 0;
  record("power", p, "");
  std::printf("}\n");
}
