"""Elementary functions for activation kernels: first as Triton device functions, then as torch operations.

In: tensors of float32 or float64, and `fast`, which says that 16-bit inputs are being computed in float32.
Out: the function's value, within about one unit in the last place, or within 2^-17 of it when `fast`;
infinities, NaN, signed zeros and both ends of the range are in their places.

Only arithmetic, bit casts, `where`, `exp2` and `rsqrt` are used in float32, so that NVIDIA, AMD and Triton's
interpreter agree. The polynomials are the best ones with coefficients of their type (Remez exchange in exact
arithmetic). "Accuracy" is the worst of all 2^32 float32 inputs on an H200.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch._C import _are_functorch_transforms_active as _transforms_active

LOG2E = tl.constexpr(1.4426950408889634)
HALF_LOG2E = tl.constexpr(0.7213475204444817)
LN2 = tl.constexpr(0.6931471805599453)
LN2_HI = tl.constexpr(0.693145751953125)  # 16 bits: n * LN2_HI is exact
LN2_LO = tl.constexpr(1.428606765330187e-06)
LN2_HI_DOUBLE = tl.constexpr(0.6931471805592082)  # 40 bits
LN2_LO_DOUBLE = tl.constexpr(7.371002565167799e-13)
HALF_PI = tl.constexpr(1.5707963267948966)
HALF_PI_DOUBLE_LO = tl.constexpr(6.123233995736766e-17)
QUARTER_PI = tl.constexpr(0.7853981852531433)  # 24 bits
QUARTER_PI_LO = tl.constexpr(-2.1855694143368964e-08)
QUARTER_PI_DOUBLE = tl.constexpr(0.7853981633974483)
QUARTER_PI_DOUBLE_LO = tl.constexpr(3.061616997868383e-17)
HALF_PI_1 = tl.constexpr(1.5707963705062866)
HALF_PI_2 = tl.constexpr(-4.371138828673793e-08)
HALF_PI_3 = tl.constexpr(-1.7151245100058819e-15)
TWO_OVER_PI = tl.constexpr(0.6366197466850281)
ROUNDER = tl.constexpr(12582912.0)  # 1.5 * 2^23: adding it leaves the nearest integer in the low bits
ROUNDER_BITS = tl.constexpr(0x4B400000)
ROOT_HALF = tl.constexpr(0.7071067811865476)
INF = tl.constexpr(float("inf"))
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)

# One coefficient a line would bury the code. Lowest degree first.
# fmt: off
EXP = tl.constexpr((
    0.4999999403953552, 0.1666652113199234, 0.04166825860738754, 0.00836866907775402,
    0.0013821290340274572
))
EXP_BEYOND_SQUARE = tl.constexpr((1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040, 1 / 40320))
EXP_BEYOND_SQUARE_DOUBLE = tl.constexpr(tuple(1 / math.factorial(k) for k in range(3, 17)))
EXPM1 = tl.constexpr((
    0.5, 0.1666666567325592, 0.04166649281978607, 0.008333547040820122, 0.001393231563270092,
    0.00019760993018280715
))
EXPM1_FAST = tl.constexpr((0.5001216530799866, 0.16667866706848145))
EXPM1_DOUBLE = tl.constexpr((
    0.5, 0.16666666666666666, 0.041666666666666664, 0.008333333333334338, 0.0013888888888888631,
    0.00019841269837716043, 2.4801587312255804e-05, 2.7557324741084316e-06, 2.755728762104124e-07,
    2.5048192092306814e-08, 2.090968706732172e-09, 1.7109770891888222e-10
))
LOG1P = tl.constexpr((
    -0.5, 0.3333345055580139, -0.25000110268592834, 0.19990848004817963, -0.1664687842130661,
    0.14477629959583282, -0.13163936138153076, 0.10472550988197327, -0.045152269303798676
))
LOG1P_FAST = tl.constexpr((
    -0.4999891519546509, 0.33318740129470825, -0.2505926489830017, 0.20626288652420044,
    -0.1676512211561203, 0.08324886858463287
))
LOG1P_UNIT = tl.constexpr((
    -0.49999988079071045, 0.33332714438438416, -0.24988864362239838, 0.19899621605873108,
    -0.16135157644748688, 0.12479481101036072, -0.08323805034160614, 0.042113907635211945,
    -0.013691186904907227, 0.0020844400860369205
))
LOG1P_UNIT_FAST = tl.constexpr((
    0.9999987483024597, -0.4998701214790344, 0.33109819889068604, -0.23505130410194397,
    0.149245023727417, -0.06641870737075806, 0.014146223664283752
))
ERF_NEAR = tl.constexpr((
    0.12837916612625122, -0.3761262595653534, 0.11283578723669052, -0.026853347197175026,
    0.005187162198126316, -0.0007997853099368513, 7.806903158780187e-05
))
ERF_FAR = tl.constexpr((
    -0.0004927573027089238, -1.626045823097229, -0.9206486344337463, -0.1487513929605484,
    0.031505558639764786, -0.004252539947628975, 0.0002688841777853668
))
ERF_NEAR_FAST = tl.constexpr((
    1.128373384475708, -0.37584027647972107, 0.11058616638183594, -0.02102014422416687
))
ERF_FAR_FAST = tl.constexpr((
    -0.029373163357377052, -1.5183123350143433, -1.0727020502090454, -0.04803794249892235
))
ERFCX = tl.constexpr((
    1.0215827226638794, -0.6871606707572937, 0.27947109937667847, -0.03644245117902756,
    -0.021501293405890465, 0.006482740398496389, 0.003055071923881769, -0.0008549634367227554,
    -0.0005969953490421176, 7.011510751908645e-05, 8.419949881499633e-05
))
ERFCX_FAST = tl.constexpr((
    0.5641881823539734, 1.4280363321304321, 3.2914414405822754, 7.799398899078369, 4.795147895812988,
    56.50276184082031, -67.29265594482422
))
ERFCX_DOUBLE = tl.constexpr((
    1.095995661000491, -0.976548729080882, 0.773208702265241, -0.5408538313132417, 0.3308515878780672,
    -0.17401093723977143, 0.07638151490592605, -0.026370053341616618, 0.006112055700670334,
    -0.0002809588620998376, -0.00045505297332116645, 0.00017681282153839004, -3.6341067246516406e-06,
    -1.8860910137685953e-05, 4.692053432875312e-06, 1.424180063321131e-06, -8.430972752052131e-07,
    -7.533397603067265e-08, 1.2201072006252372e-07, 5.308944620566673e-10, -1.5017193058171748e-08,
    3.231073814722681e-10, 1.153843604026734e-09
))
MILLS = tl.constexpr((
    1.437972068786621, -0.9487080574035645, 0.3646688461303711, -0.033136997371912,
    -0.03289218991994858, 0.006454628426581621, 0.005023329518735409, -0.0006885698530822992,
    -0.0009600908379070461, 2.1247249605949037e-05, 0.00013033287541475147
))
MILLS_FAST = tl.constexpr((
    0.7978825569152832, 2.856107711791992, 9.30968952178955, 31.201156616210938, 27.10877799987793,
    452.12762451171875, -761.453857421875
))
SIN = tl.constexpr((-0.16666653752326965, 0.008332106284797192, -0.00019507882825564593))
SIN_FAST = tl.constexpr((-0.16663256287574768, 0.008159857243299484))
COS = tl.constexpr((0.04166664555668831, -0.0013887297827750444, 2.4430084522464313e-05))
COS_FAST = tl.constexpr((0.041660841554403305, -0.0013643859419971704))
ATAN = tl.constexpr((
    -0.33333298563957214, 0.1999852955341339, -0.14264015853405, 0.10950880497694016,
    -0.08399306237697601, 0.05788138136267662, -0.031096961349248886, 0.010868660174310207,
    -0.00178281229455024
))
ATAN_DOUBLE = tl.constexpr((
    -0.33333333333333287, 0.19999999999990617, -0.1428571428504498, 0.11111111086670777,
    -0.090909085510027, 0.07692299754521287, -0.06666584072196818, 0.05881718275079103,
    -0.05259443593660016, 0.0474496124096656, -0.04286489576111998, 0.03821225200627086,
    -0.032789270913597415, 0.026157000508257103, -0.018620014929241643, 0.011322568939765822,
    -0.0056155451273347924, 0.00215307461312656, -0.0005933769166895207, 0.00010396903573470044,
    -8.663277628834656e-06
))
ASIN = tl.constexpr((
    0.16666752099990845, 0.074953094124794, 0.04546915367245674, 0.02418474107980728,
    0.042158398777246475
))
ASIN_DOUBLE = tl.constexpr((
    0.1666666666666676, 0.07499999999970866, 0.0446428571745612, 0.030381942709841455,
    0.022372214936846165, 0.017351612832143287, 0.013980811599338859, 0.011398979799382924,
    0.010779900021553119, 0.0037076589144489224, 0.021704575500832938, -0.02099520580387876,
    0.03262632431417894
))
ATANH = tl.constexpr((0.6666666269302368, 0.4000093340873718, 0.2850351929664612, 0.24151448905467987))
ATANH_DOUBLE = tl.constexpr((
    0.6666666666666666, 0.4000000000000272, 0.2857142857075556, 0.22222222299886932,
    0.1818181358557362, 0.15384744883505247, 0.13332784083689325, 0.11703511464727923,
    0.11956655434182614
))
# fmt: on


@triton.jit
def cast(x, dtype: tl.constexpr):
    """x rounded to a type."""
    return x.to(dtype).to(x.dtype)


@triton.jit
def _fma(a, b, c):
    # The interpreter's tl.fma rounds twice. A product of two float32 numbers is exact in float64.
    return (a.to(tl.float64) * b + c).to(tl.float32) if INTERPRETED else tl.fma(a, b, c)


@triton.jit
def _polynomial(x, coefficients: tl.constexpr, degree: tl.constexpr, fast: tl.constexpr):
    # Horner. In float64 a literal operand of tl.fma would be rounded to float32, hence the operators.
    if fast or x.dtype == tl.float64:
        p = x * coefficients[degree] + coefficients[degree - 1]
        for k in tl.static_range(2, degree + 1):
            p = p * x + coefficients[degree - k]
    else:
        p = _fma(x, coefficients[degree], coefficients[degree - 1])
        for k in tl.static_range(2, degree + 1):
            p = _fma(p, x, coefficients[degree - k])
    return p


@triton.jit
def _bits(x):
    return x.to(tl.int64 if x.dtype == tl.float64 else tl.int32, bitcast=True)


@triton.jit
def _float(bits):
    return bits.to(tl.float64 if bits.dtype == tl.int64 else tl.float32, bitcast=True)


@triton.jit
def _copy_sign(x, sign_of):
    # |x| with the sign of the other; x is not negative.
    return _float(_bits(x) | (_bits(sign_of) & (-(2**63) if x.dtype == tl.float64 else -(2**31))))


@triton.jit
def _reciprocal(x):
    # 1 / x for x > 0, within 4 units. Division is 8 instructions and more (Triton 3.7), this is 2 everywhere.
    root = tl.rsqrt(x)
    return 1.0 / x if x.dtype == tl.float64 else root * root


@triton.jit
def _reduce_exp(u):
    # u = n ln 2 + r with |r| <= 0.35: n as an integer, and r.
    shifted = _fma(u, LOG2E, ROUNDER)
    n = shifted - ROUNDER
    r = _fma(n, -LN2_LO, _fma(n, -LN2_HI, u))
    return _bits(shifted) - ROUNDER_BITS, r


@triton.jit
def _exp_accurate(u, lo, corrected: tl.constexpr):
    n, r = _reduce_exp(u)
    if corrected:
        r += lo
    p = _fma(_fma(_polynomial(r, EXP, 4, False), r, 1.0), r, 1.0)
    # Two factors, each a power of two in range, so that only the last product rounds (below 2^-126).
    half = n >> 1
    p = p * _float((half + 127) << 23) * _float((n - half + 127) << 23)
    return tl.where(u > 89.0, INF, tl.where(u < -104.0, 0.0, p))


@triton.jit
def exp(u, fast: tl.constexpr):
    """e^u.

    Method: u = n ln 2 + r, a polynomial of degree 6 in r, and 2^n in two exact steps; fast, the hardware's
    2^x. Special cases: 0 below -104, infinity above 88.72.
    Accuracy: 0.89 ulp at -5.84864; fast, 0.51 * 2^-17.
    """
    if u.dtype == tl.float64:
        y = tl.exp(u)
    elif fast:
        y = tl.exp2(u * LOG2E)
    else:
        y = _exp_accurate(u, u, False)
    return y


@triton.jit
def exp_sum(hi, lo, fast: tl.constexpr):
    """e^(hi + lo), where lo is what the rounding of hi lost.

    Method: as exp, with lo added to the reduced argument; fast, lo is left out, for it moves the result by
    less than 2^-18 wherever that does not underflow in 16 bits. An infinite hi decides, whatever lo is.
    Accuracy: 1.04 ulp at -5.87891; fast, 1.0 * 2^-17.
    """
    if hi.dtype == tl.float64:
        inside = tl.abs(hi) < 1024.0
        s = tl.where(inside, hi + lo, hi)
        rest = tl.where(inside, lo - (s - hi), 0.0)
        e = tl.exp(s)
        y = tl.where(e < INF, e + e * rest, e)
    elif fast:
        y = tl.exp2(hi * LOG2E)
    else:
        y = _exp_accurate(hi, lo, True)
    return y


@triton.jit
def _decayed(u):
    # Two powers of two reach down to e^-156; NaN stays NaN.
    return maximum(u, -156.0)


@triton.jit
def exp_high(u, fast: tl.constexpr):
    """e^u for u <= 0 but for `exp_low(u)`, by which it is to be multiplied last: e^-90 alone is subnormal.

    Method: as exp, with no less than 2^-100; fast, both are e^(u / 2). In float64 e^(u + 698) below -698.
    Accuracy: 0.89 ulp at -5.84864, of the product; fast, 0.52 * 2^-17.
    """
    if u.dtype == tl.float64:
        y = tl.exp(tl.where(u < -698.0, u + 698.0, u))
    elif fast:
        y = tl.exp2(u * HALF_LOG2E)
    else:
        n, r = _reduce_exp(_decayed(u))
        p = _fma(_fma(_polynomial(r, EXP, 4, False), r, 1.0), r, 1.0)
        y = p * _float((tl.maximum(n, -100) + 127) << 23)
    return y


@triton.jit
def exp_sum_high(hi, lo, fast: tl.constexpr):
    """e^(hi + lo) for hi <= 0 but for `exp_low(hi)`, where lo is what the rounding of hi lost.

    Method: as exp_high, with lo added to the reduced argument; fast, lo is left out.
    Accuracy: 1.04 ulp at -5.87891, of the product; fast, 1.0 * 2^-17.
    """
    if hi.dtype == tl.float64:
        s = tl.where(hi < -698.0, hi + 698.0, hi)
        y = tl.where(hi > -1400.0, exp_sum(s, lo, fast), exp_high(hi, fast))
    elif fast:
        y = tl.exp2(hi * HALF_LOG2E)
    else:
        n, r = _reduce_exp(_decayed(hi))
        r += tl.where(hi > -156.0, lo, 0.0)
        p = _fma(_fma(_polynomial(r, EXP, 4, False), r, 1.0), r, 1.0)
        y = p * _float((tl.maximum(n, -100) + 127) << 23)
    return y


@triton.jit
def exp_low(u, fast: tl.constexpr):
    """What `exp_high(u)` leaves of e^u: 1 but where that would be subnormal; fast, a half."""
    if u.dtype == tl.float64:
        y = tl.where(u < -698.0, 7.285370309915161e-304, tl.full((), 1.0, u.dtype))
    elif fast:
        y = tl.exp2(u * HALF_LOG2E)
    else:
        n, _ = _reduce_exp(_decayed(u))
        y = _float((tl.minimum(n + 100, 0) + 127) << 23)
    return y


@triton.jit
def exp_error(t, hi, lo, fast: tl.constexpr):
    """What `t`, a computed e^(hi + lo), lacks: both together are e^(hi + lo) to half as many bits again.

    For exponentials of exponentials, which turn the relative error of the inner one into that of the outer
    one times its exponent. Method: the reduced argument r, 1 + r and r^2 / 2 each in two parts. Where t is
    beyond e^64 or below e^-64, and fast, 0: there it does not matter.
    """
    if fast:
        y = tl.zeros_like(t)
    else:
        if t.dtype == tl.float64:
            n = tl.floor(hi * LOG2E + 0.5)
            whole = hi - n * LN2_HI_DOUBLE
            rest = n * LN2_LO_DOUBLE
        else:
            n = _fma(hi, LOG2E, ROUNDER) - ROUNDER
            whole = _fma(n, -LN2_HI, hi)
            rest = n * LN2_LO
        r = whole - rest
        square = r * r
        first = 1.0 + r
        second = first + 0.5 * square
        lost = (r - (first - 1.0)) + (0.5 * square - (second - first)) + 0.5 * product_error(r, r)
        if t.dtype == tl.float64:
            third = r * square * _polynomial(r, EXP_BEYOND_SQUARE_DOUBLE, 13, False)
        else:
            third = r * square * _polynomial(r, EXP_BEYOND_SQUARE, 5, False)
        lost += third + (second + third) * (((whole - r) - rest) + lo)
        y = ((second - t * tl.exp2(-n)) + lost) * tl.exp2(n)
        y = tl.where(tl.abs(hi) < 64.0, y, 0.0)
    return y


@triton.jit
def _expm1_double(u):
    n = tl.floor(u * LOG2E + 0.5)
    r = (u - n * LN2_HI_DOUBLE) - n * LN2_LO_DOUBLE
    one = n == 1.0
    v = tl.where(one, r + 0.5, r) + r * r * _polynomial(r, EXPM1_DOUBLE, 11, False)
    s = _float((n.to(tl.int64) + 1022) << 52)
    y = 2.0 * (v * s + tl.where(one, 0.0, s - 0.5))
    return tl.where(u > 710.0, INF, tl.where(u < -40.0, -1.0, y))


@triton.jit
def expm1(u, fast: tl.constexpr):
    """e^u - 1, without cancellation.

    Method: u = n ln 2 + r and 2^n (e^r - 1) + (2^n - 1), with the sum regrouped for n = 1, where it would
    cancel; fast, the hardware's 2^x minus 1, and a cubic for |u| < 1/16.
    Accuracy: 1.44 ulp at 17.00197; fast, 0.51 * 2^-17.
    """
    if fast and u.dtype == tl.float32:
        series = u * (1.0 + u * _polynomial(u, EXPM1_FAST, 1, True))
        y = tl.where(tl.abs(u) < 0.0625, series, tl.exp2(u * LOG2E) - 1.0)
    elif u.dtype == tl.float64:
        y = tl.where(tl.abs(u) < 1e-17, u, _expm1_double(u))
    else:
        n, r = _reduce_exp(u)
        one = n == 1
        v = _fma(_polynomial(r, EXPM1, 5, False), r * r, tl.where(one, r + 0.5, r))
        s = _float((n + 126) << 23)
        y = 2.0 * _fma(v, s, tl.where(one, 0.0, s - 0.5))
        y = tl.where(u > 89.0, INF, tl.where(u < -18.0, -1.0, y))
        y = tl.where(tl.abs(u) < 1e-17, u, y)
    return y


@triton.jit
def _log_of_ratio(m, k, less, fast: tl.constexpr):
    # log(1 + m) + (k / 2^23 - less) ln 2 for -1/4 <= m <= 1/2.
    e = k.to(tl.float32) * 1.1920928955078125e-07 - less
    if fast:
        y = (m + m * (m * _polynomial(m, LOG1P_FAST, 5, True))) + e * LN2
    else:
        tail = _fma(e, LN2_LO, m * m * _polynomial(m, LOG1P, 8, False))
        y = _fma(e, LN2_HI, m + tail)
    return y


@triton.jit
def log(u, fast: tl.constexpr):
    """The natural logarithm.

    Method: u = 2^e (1 + m) with -1/4 <= m < 1/2 and a polynomial in m. Special cases: -infinity at 0, NaN
    below, infinity at infinity, all of which u - 1 / sqrt(u) has too.
    Accuracy: 0.96 ulp at 0.749558; fast, 0.25 * 2^-17.
    """
    if u.dtype == tl.float64:
        y = tl.log(u)
    else:
        subnormal = u < 1.1754943508222875e-38
        scaled = tl.where(subnormal, u * 8388608.0, u)
        bits = _bits(scaled)
        k = (bits - 0x3F400000) & -0x800000
        y = _log_of_ratio(_float(bits - k) - 1.0, k, tl.where(subnormal, 23.0, 0.0), fast)
        # The hardware's rsqrt takes a negative subnormal for -0; adding 0 makes 0 of -0.
        y = tl.where((u > 0.0) & (u < INF), y, u - tl.rsqrt(scaled + 0.0))
    return y


@triton.jit
def log1p(u, fast: tl.constexpr):
    """log(1 + u), without cancellation.

    Method: 1 + u is only rounded to find its exponent e; m = 2^-e u + (2^-e - 1) keeps every bit of u. Then
    as log. In float64, log(s) with what the rounding of s = 1 + u lost put back.
    Special cases: -infinity at -1, NaN below.
    Accuracy: 0.96 ulp at -0.250198; fast, 0.25 * 2^-17.
    """
    s = 1.0 + u
    if u.dtype == tl.float64:
        y = tl.log(s) + (u - (s - 1.0)) / s
    else:
        k = (_bits(s) - 0x3F400000) & -0x800000
        m = _float(_bits(u) - k) + (_float(tl.maximum(0x3F800000 - k, 0)) - 1.0)
        y = _log_of_ratio(m, k, 0.0, fast)
    y = tl.where((s > 0.0) & (s < INF), y, u - tl.rsqrt(s))
    return tl.where(u == 0.0, u, y)


@triton.jit
def log1p_unit(u, fast: tl.constexpr):
    """log(1 + u) for 0 <= u <= 1, a third of the work of log1p.

    Method: a polynomial on the whole interval; in float64, log1p.
    Accuracy: 1.13 ulp at 0.973649; fast, 0.19 * 2^-17.
    """
    if u.dtype == tl.float64:
        y = log1p(u, fast)
    elif fast:
        y = u * _polynomial(u, LOG1P_UNIT_FAST, 6, True)
    else:
        y = _fma(u * u, _polynomial(u, LOG1P_UNIT, 9, False), u)
    return y


@triton.jit
def erf(u, fast: tl.constexpr):
    """The error function.

    Method: u + u P(u^2) up to 1, and 1 - 2^Q(|u|) beyond, where Q is log2(erfc); fast, the same with
    shorter polynomials, joined at 0.8.
    Accuracy: 1.27 ulp at 1.003974; fast, 0.84 * 2^-17.
    """
    a = tl.abs(u)
    if u.dtype == tl.float64:
        y = tl.erf(u)
    elif fast:
        far = _copy_sign(1.0 - tl.exp2(_polynomial(a, ERF_FAR_FAST, 3, True)), u)
        y = tl.where(a < 0.8, u * _polynomial(u * u, ERF_NEAR_FAST, 3, True), far)
    else:
        far = _copy_sign(1.0 - tl.exp2(_polynomial(minimum(a, 4.0), ERF_FAR, 6, False)), u)
        y = tl.where(a < 1.0, _fma(u, _polynomial(u * u, ERF_NEAR, 6, False), u), far)
    return y


@triton.jit
def erfcx(u, fast: tl.constexpr):
    """e^(u^2) erfc(u) for u >= 0.

    Method: (u + k) erfcx(u) is smooth in q = (u - k) / (u + k) on the whole half line: one polynomial in q,
    times r = 1 / (u + k), whose rounding errors (and those of u + k) are put back; fast, a polynomial in r.
    Special cases: 0 at infinity.
    Accuracy: 2.44 ulp at 586.618; fast, 0.56 * 2^-17.
    """
    near = u < INF
    if u.dtype == tl.float64:
        r = 1.0 / (u + 4.0)
        r += r * tl.where(near, (1.0 - 4.0 * r) - u * r, 0.0)
        y = r * _polynomial(tl.where(near, 2.0 * (u * r) - 1.0, 1.0), ERFCX_DOUBLE, 22, False)
    elif fast:
        r = _reciprocal(u + 2.53)
        y = r * _polynomial(r, ERFCX_FAST, 6, True)
    else:
        r = _reciprocal(u + 2.0)
        r = _fma(r, tl.where(near, _fma(-u, r, _fma(r, -2.0, 1.0)), 0.0), r)
        q = tl.where(near, _fma(u, r + r, -1.0), 1.0)
        y = r * _polynomial(q, ERFCX, 10, False)
    return y


@triton.jit
def mills(u, fast: tl.constexpr):
    """e^(u^2 / 2) erfc(u / sqrt(2)) for u >= 0: sqrt(2 / pi) times Mills' ratio of the normal distribution.

    Method: as erfcx, with polynomials of its own, so that u is not scaled first; in float64 erfcx.
    Accuracy: 2.71 ulp at 0.0436529; fast, 0.56 * 2^-17.
    """
    if u.dtype == tl.float64:
        y = erfcx(u * ROOT_HALF, fast)
    elif fast:
        r = _reciprocal(u + 3.578)
        y = r * _polynomial(r, MILLS_FAST, 6, True)
    else:
        r = _reciprocal(u + 2.75)
        r = _fma(r, tl.where(u < INF, _fma(-u, r, _fma(r, -2.75, 1.0)), 0.0), r)
        y = r * _polynomial(tl.where(u < INF, _fma(u, r + r, -1.0), 1.0), MILLS, 10, False)
    return y


@triton.jit
def fit(z, table_16: tl.constexpr, table_32: tl.constexpr, table_64: tl.constexpr, fast: tl.constexpr):
    """A polynomial in z whose coefficients (lowest first) were fitted for the precision at hand."""
    if fast:
        p = _polynomial(z, table_16, len(table_16) - 1, True)
    elif z.dtype == tl.float64:
        p = _polynomial(z, table_64, len(table_64) - 1, False)
    else:
        p = _polynomial(z, table_32, len(table_32) - 1, False)
    return p


@triton.jit
def product(a, b):
    """a b, rounded.

    As a fused multiply-add with zero, because a compiler may fuse a plain product with the sum that uses it;
    beside `product_error`, the rounding error would then be counted twice.
    """
    p = a * b
    return p if INTERPRETED else tl.fma(a, b, tl.zeros_like(p))


@triton.jit
def product_error(a, b):
    """a b minus its rounded value, exactly.

    Method: one fused multiply-add; in the interpreter, which has none, float64 for float32 and Dekker's
    product for float64.
    """
    p = a * b
    if not INTERPRETED:
        error = tl.fma(a, b, -p)
    elif p.dtype == tl.float32:
        error = (a.to(tl.float64) * b.to(tl.float64) - p.to(tl.float64)).to(tl.float32)
    else:
        a_hi = _float((_bits(a) + 0x4000000) & -0x8000000)
        b_hi = _float((_bits(b) + 0x4000000) & -0x8000000)
        a_lo, b_lo = a - a_hi, b - b_hi
        error = ((a_hi * b_hi - p + a_hi * b_lo) + a_lo * b_hi) + a_lo * b_lo
    return error


@triton.jit
def sum_error(a, b):
    """a + b minus its rounded value, exactly (Knuth's two-sum)."""
    s = a + b
    b_part = s - a
    return (a - (s - b_part)) + (b - b_part)


@triton.jit
def copysign(x, sign_of):
    """x, which is not negative, with the sign of the other."""
    return _copy_sign(x, sign_of)


@triton.jit
def ratio(a, b, fast: tl.constexpr):
    """a / b for b in [2^-100, 2^100].

    Method: a times the reciprocal, and unless fast one correction with the remainder, which leaves about half
    a unit. A quotient that is infinite or 0 stays as it is.
    Accuracy: 0.5 ulp; fast, 0.05 * 2^-17 (sampled).
    """
    if b.dtype == tl.float64:
        q = a / b
    else:
        r = _reciprocal(b)
        q = a * r
        if not fast:
            y = _fma(r, _fma(-q, b, a), q)
            q = tl.where((y == y) & (q != 0.0), y, q)
    return q


@triton.jit
def maximum(a, b):
    """The greater; NaN where either is."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def minimum(a, b):
    """The smaller; NaN where either is."""
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def sign(x):
    """-1, 0 or 1; zero keeps its sign, NaN stays."""
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, x))


@triton.jit
def floor(x):
    """The greatest integer not above x."""
    return tl.floor(x)


@triton.jit
def ceil(x):
    """The least integer not below x."""
    return tl.ceil(x)


@triton.jit
def round(x):  # noqa: A001 (the operation's own name)
    """The nearest integer, ties to even.

    Method: above 2^23 (2^52 in float64) every number is an integer, so that adding and subtracting that
    number rounds; the sign is put back for the zeros.
    """
    a = tl.abs(x)
    if x.dtype == tl.float64:
        y = tl.where(a < 4503599627370496.0, (a + 4503599627370496.0) - 4503599627370496.0, a)
    else:
        y = tl.where(a < 8388608.0, (a + 8388608.0) - 8388608.0, a)
    return _copy_sign(y, x)


@triton.jit
def _reduce_far(a, fast: tl.constexpr):
    # Payne and Hanek for 2^17 <= a: a = m 2^e, and only those bits of 1 / (2 pi) count which m 2^e neither
    # turns into whole turns nor leaves below the result. Seven words of 2^-8 / (2 pi) are shifted into place.
    bits = _bits(a)
    shift = (bits >> 23) - 142
    m = ((bits & 0x7FFFFF) | 0x800000).to(tl.uint64)
    far = shift >= 64
    odd = (shift & 32) != 0
    s = (shift & 31).to(tl.uint64)
    v0 = tl.where(far, 0x4A7F09D5, 0x0028BE60).to(tl.uint64)
    v1 = tl.where(far, 0xF47D4D37, 0xDB939105).to(tl.uint64)
    v2 = tl.where(far, 0x7036D8A5, 0x4A7F09D5).to(tl.uint64)
    v3 = tl.where(far, 0x664F10E4, 0xF47D4D37).to(tl.uint64)
    u0, u1, u2 = tl.where(odd, v1, v0), tl.where(odd, v2, v1), tl.where(odd, v3, v2)
    w0 = (((u0 << 32) | u1) << s) >> 32
    w1 = (((u1 << 32) | u2) << s) >> 32
    turns = ((m * w0) << 32) + m * w1
    if fast:
        top = (turns >> 32).to(tl.uint32)
        q = (top + 0x20000000) >> 30
        r = (top - (q << 30)).to(tl.int32, bitcast=True).to(tl.float32) * 1.4629180792671596e-09
    else:
        v4 = tl.where(far, 0x107F9458, 0x7036D8A5).to(tl.uint64)
        u3 = tl.where(odd, v4, v3)
        turns += (m * ((((u2 << 32) | u3) << s) >> 32)) >> 32
        q = (turns + 0x2000000000000000) >> 62
        rest = (turns - (q << 62)).to(tl.int64, bitcast=True).to(tl.float32)
        r = _fma(rest, 3.4061216748705226e-19, rest * -9.47839680047608e-27)
    return r, q.to(tl.int32)


@triton.jit
def _sin_turned(a, turn: tl.constexpr, fast: tl.constexpr):
    # sin(a + turn pi / 2) for a >= 0, by quadrants.
    shifted = _fma(a, TWO_OVER_PI, ROUNDER)
    n = shifted - ROUNDER
    r = _fma(n, -HALF_PI_2, _fma(n, -HALF_PI_1, a))
    if not fast:
        r = _fma(n, -HALF_PI_3, r)
    q = _bits(shifted)
    far_r, far_q = _reduce_far(a, fast)
    far = (a >= 131072.0) & (a < INF)
    r = tl.where(far, far_r, r)
    q = tl.where(far, far_q, q) + turn
    z = r * r
    if fast:
        sine = r + r * (z * _polynomial(z, SIN_FAST, 1, True))
        cosine = 1.0 + z * (z * _polynomial(z, COS_FAST, 1, True) - 0.5)
    else:
        sine = _fma(r, z * _polynomial(z, SIN, 2, False), r)
        cosine = _fma(z, _fma(z, _polynomial(z, COS, 2, False), -0.5), 1.0)
    return _float(_bits(tl.where((q & 1) != 0, cosine, sine)) ^ ((q & 2) << 30))


@triton.jit
def sin(x, fast: tl.constexpr):
    """The sine, at every finite x.

    Method: the nearest multiple of pi / 2 is taken off in three parts up to 2^17, in integers beyond; then a
    polynomial. float64 is Triton's own. Special cases: NaN at infinity.
    Accuracy: 2.27 ulp at 9.068e21; fast, 0.8 * 2^-17, or 0.8 * 2^-29 absolute if that is more.
    """
    if x.dtype == tl.float64:
        y = tl.sin(x)
    else:
        y = _sin_turned(tl.abs(x), 0, fast)
        y = _float(_bits(y) ^ (_bits(x) & -(2**31)))
    return y


@triton.jit
def cos(x, fast: tl.constexpr):
    """The cosine, at every finite x; the method is sin's.

    Accuracy: 2.29 ulp at 79208192; fast as sin.
    """
    return tl.cos(x) if x.dtype == tl.float64 else _sin_turned(tl.abs(x), 1, fast)


@triton.jit
def turned(u, lo, fast: tl.constexpr):
    """sin(u + lo + pi / 4), where lo is what the rounding of u lost: relatively accurate at its roots.

    Method: the rounding error of the sum, up to 2^-8, is put back by two derivatives; beyond 2^16, (sin +
    cos) / sqrt(2).
    That error is exact except for |u| < pi / 4, where there is no root. u may be a product: fused with it,
    the zero makes it the rounded one, whose error lo is.
    """
    u += 0.0
    if u.dtype == tl.float64:
        total = u + QUARTER_PI_DOUBLE
        rest = (QUARTER_PI_DOUBLE - (total - u)) + (lo + QUARTER_PI_DOUBLE_LO)
    else:
        total = u + QUARTER_PI
        rest = (QUARTER_PI - (total - u)) + (lo + QUARTER_PI_LO)
    near = tl.abs(u) < 65536.0
    angle = tl.where(near, total, u)
    s, c = sin(angle, fast), cos(angle, fast)
    return tl.where(near, s + rest * (c - 0.5 * rest * s), (s + c) * ROOT_HALF)


@triton.jit
def atan(x, fast: tl.constexpr):
    """The inverse tangent.

    Method: an odd polynomial up to 1, and pi / 2 minus that of 1 / x beyond, pi / 2 in two parts.
    Accuracy: 1.37 ulp at 1.024447; fast, 0.03 * 2^-17.
    """
    a = tl.abs(x)
    beyond = a > 1.0
    if x.dtype == tl.float64:
        t = tl.where(beyond, 1.0 / a, a)
        z = t * t
        y = t + t * (z * _polynomial(z, ATAN_DOUBLE, 20, False))
        y = tl.where(beyond, (HALF_PI - y) + HALF_PI_DOUBLE_LO, y)
    else:
        c = minimum(a, 1e30)
        t = _reciprocal(c)
        t = tl.where(beyond, _fma(t, _fma(-c, t, 1.0), t), a)
        z = t * t
        y = _fma(t, z * _polynomial(z, ATAN, 8, fast), t)
        y = tl.where(beyond, (HALF_PI_1 - y) + HALF_PI_2, y)
    return _copy_sign(y, x)


@triton.jit
def _root(z, fast: tl.constexpr):
    # The square root of a number that is not subnormal.
    return tl.sqrt(z) if fast or z.dtype == tl.float64 else tl.sqrt_rn(z)


@triton.jit
def _asin_tail(z, fast: tl.constexpr):
    # asin(s) / s - 1 for z = s^2 <= 1/4.
    return z * (
        _polynomial(z, ASIN_DOUBLE, 12, False) if z.dtype == tl.float64 else _polynomial(z, ASIN, 4, fast)
    )


@triton.jit
def asin(x, fast: tl.constexpr):
    """The inverse sine.

    Method: an odd polynomial up to 1/2, and pi / 2 - 2 asin(sqrt((1 - |x|) / 2)) beyond. NaN outside [-1, 1].
    Accuracy: 1.91 ulp at 0.532295; fast, 0.03 * 2^-17.
    """
    a = tl.abs(x)
    beyond = a > 0.5
    z = tl.where(beyond, 0.5 * (1.0 - a), a * a)
    s = tl.where(beyond, _root(z, fast), a)
    y = s + s * _asin_tail(z, fast)
    if x.dtype == tl.float64:
        y = tl.where(beyond, (HALF_PI - 2.0 * y) + HALF_PI_DOUBLE_LO, y)
    else:
        y = tl.where(beyond, (HALF_PI_1 - 2.0 * y) + HALF_PI_2, y)
    return _copy_sign(y, x)


@triton.jit
def acos(x, fast: tl.constexpr):
    """The inverse cosine; the method is asin's. NaN outside [-1, 1].

    Accuracy: 1.27 ulp at -0.500428; fast, 0.03 * 2^-17.
    """
    a = tl.abs(x)
    beyond = a > 0.5
    z = tl.where(beyond, 0.5 * (1.0 - a), a * a)
    s = tl.where(beyond, _root(z, fast), x)
    y = s + s * _asin_tail(z, fast)
    if x.dtype == tl.float64:
        near = (HALF_PI - y) + HALF_PI_DOUBLE_LO
        far = tl.where(x < 0.0, 2.0 * ((HALF_PI - y) + HALF_PI_DOUBLE_LO), 2.0 * y)
    else:
        near = (HALF_PI_1 - y) + HALF_PI_2
        far = tl.where(x < 0.0, 2.0 * ((HALF_PI_1 - y) + HALF_PI_2), 2.0 * y)
    return tl.where(beyond, far, near)


@triton.jit
def cbrt(x, fast: tl.constexpr):
    """The real cube root.

    Method: 2^(log2(|x|) / 3), and unless fast one step of Newton's method. Small |x| are scaled by 2^72.
    Accuracy: 0.74 ulp at 4.4642e-30; fast, 0.37 * 2^-17.
    """
    a = tl.abs(x)
    small = a < 1e-30
    c = tl.where(small, a * 4722366482869645213696.0, a)
    root = tl.exp2(tl.log2(c) * 0.3333333333333333)
    if x.dtype == tl.float64:
        root -= (root - c / (root * root)) * 0.3333333333333333
    elif not fast:
        square = root * root
        rest = _fma(-square, root, c)
        root = _fma(rest * _reciprocal(square), 0.3333333333333333, root)
    root = tl.where(small, root * 5.960464477539063e-08, root)
    return _copy_sign(tl.where((a > 0.0) & (a < INF), root, a), x)


@triton.jit
def _log_in_two(a):
    # log(a) as a sum of two numbers, for a > 0: e ln 2 + 2 atanh(s), s = r / (2 + r), with s in two parts.
    subnormal = a < 1.1754943508222875e-38
    if a.dtype == tl.float64:
        bits = _bits(tl.where(subnormal, a * 1.329227995784916e36, a))
        k = (bits - 0x3FE8000000000000) & -0x10000000000000
        e = (k >> 52).to(tl.float64) - tl.where(subnormal, 120.0, 0.0)
        ln2_hi = e * LN2_HI_DOUBLE
        ln2_lo = e * LN2_LO_DOUBLE
    else:
        bits = _bits(tl.where(subnormal, a * 8388608.0, a))
        k = (bits - 0x3F400000) & -0x800000
        e = (k >> 23).to(tl.float32) - tl.where(subnormal, 23.0, 0.0)
        ln2_hi = e * LN2_HI
        ln2_lo = e * LN2_LO
    r = _float(bits - k) - 1.0
    inverse = _reciprocal(2.0 + r)
    inverse += inverse * (1.0 - inverse * (2.0 + r))
    s = r * inverse
    rest = ((r - 2.0 * s) - s * r) - product_error(s, r)
    z = s * s
    if a.dtype == tl.float64:
        tail = s * (z * _polynomial(z, ATANH_DOUBLE, 8, False))
    else:
        tail = s * (z * _polynomial(z, ATANH, 3, False))
    tail += 2.0 * (rest * inverse) + ln2_lo
    total = ln2_hi + 2.0 * s
    tail += 2.0 * s - (total - ln2_hi)
    hi = total + tail
    return hi, tail - (hi - total)


@triton.jit
def pow(a, b, fast: tl.constexpr):  # noqa: A001 (the operation's own name)
    """a^b for real b.

    Method: e^(b log a), with log a and the product each in two parts; fast, the hardware's log2 and 2^x.
    Special cases: as C's pow: 1 where b is 0 or a is 1, NaN where a < 0 and b is not an integer.
    Accuracy: 1.1 ulp for results of moderate size, 10 at the ends of the range; fast, 2^-17 (sampled).
    """
    size = tl.abs(a)
    b = tl.where(True, b, size)  # a tensor: the interpreter does not mix conditions on numbers and on tensors
    if fast and size.dtype == tl.float32:
        value = tl.exp2(b * tl.log2(size))
    else:
        hi, lo = _log_in_two(size)
        p = b * hi
        value = exp_sum(p, product_error(b, hi) + b * lo, False)
        # log(0) and log(infinity) are not what the bits above say.
        edge = (size == 0.0) | (size == INF)
        value = tl.where(edge, tl.where((b > 0.0) == (size == 0.0), 0.0, INF), value)
        value = tl.where(tl.abs(b) == INF, tl.where((b > 0.0) == (size < 1.0), 0.0, INF), value)
    whole = tl.floor(b) == b
    odd = whole & (b - 2.0 * tl.floor(b * 0.5) == 1.0)
    value = tl.where(size == 1.0, 1.0, value)
    value = tl.where((a < 0.0) & (a > -INF) & ~whole, float("nan"), value)
    value = tl.where(odd, _copy_sign(value, a), value)
    value = tl.where((a != a) | (b != b), a + b, value)
    return tl.where((b == 0.0) | (a == 1.0), 1.0, value)


@triton.jit
def pow_sum(a, b, rest, fast: tl.constexpr):
    """a^(b + rest) for a >= 0, else NaN; rest is what rounding b lost, which is no whole number.

    Method: pow's.
    Accuracy: pow's.
    """
    b = tl.where(True, b, a)
    if fast and a.dtype == tl.float32:
        value = tl.exp2(b * tl.log2(a))
    else:
        hi, lo = _log_in_two(tl.abs(a))
        value = exp_sum(b * hi, product_error(b, hi) + (b * lo + rest * hi), False)
        # log(0) and log(infinity) are not what the bits above say.
        edge = (a == 0.0) | (a == INF)
        value = tl.where(edge, tl.where((b > 0.0) == (a == 0.0), 0.0, INF), value)
    return tl.where(a >= 0.0, value, float("nan"))


@triton.jit
def sqrt(x, fast: tl.constexpr):
    """The square root, correctly rounded unless fast."""
    if x.dtype == tl.float64:
        y = tl.sqrt(x)
    elif fast:
        # The hardware's square root takes subnormals for 0.
        small = x < 1e-30
        y = tl.sqrt(x * tl.where(small, 16777216.0, 1.0)) * tl.where(small, 0.000244140625, 1.0)
    else:
        y = tl.sqrt_rn(x)
    return y


def _horner(x: torch.Tensor, coefficients: tuple[float, ...]) -> torch.Tensor:
    p = x * coefficients[-1] + coefficients[-2]
    for c in coefficients[-3::-1]:
        p = p * x + c
    return p


def _constant(function: Any) -> Any:
    """Let Dynamo take for constant what a function gives.

    Under `dynamic=True` it makes a variable of each number that it finds in a module, and loses it in the
    second autograd.Function that uses it. `torch.compiler.assume_constant_result` sets the same mark, but
    imports Dynamo for it, which takes a second, whether or not anything is compiled.
    """
    function._dynamo_marked_constant = True
    return function


@_constant
def _of_exp(double: bool) -> tuple[float, float, float, tuple[float, ...]]:
    hi, lo = (LN2_HI_DOUBLE, LN2_LO_DOUBLE) if double else (LN2_HI, LN2_LO)
    return LOG2E.value, hi.value, lo.value, (EXP_BEYOND_SQUARE_DOUBLE if double else EXP_BEYOND_SQUARE).value


@_constant
def _of_erfcx(double: bool) -> tuple[float, tuple[float, ...]]:
    return (4.0, ERFCX_DOUBLE.value) if double else (2.0, ERFCX.value)


@_constant
def _of_mills() -> tuple[float, ...]:
    coefficients: tuple[float, ...] = MILLS.value
    return coefficients


@_constant
def _quarter_pi(double: bool) -> tuple[float, float]:
    if double:
        return QUARTER_PI_DOUBLE.value, QUARTER_PI_DOUBLE_LO.value
    return QUARTER_PI.value, QUARTER_PI_LO.value


@_constant
def _root_half() -> float:
    half: float = ROOT_HALF.value
    return half


def opened_torch(*tensors: torch.Tensor) -> tuple[Any, ...]:
    """The type that results of tensors have, and the tensors in the type of arithmetic."""
    dtype, wide = tensors[0].dtype, torch.float64
    for x in tensors:
        if x.dtype.itemsize < dtype.itemsize:
            dtype = x.dtype
    if dtype is not wide:
        wide = torch.float32
    return dtype, *[x.to(wide) for x in tensors]


def cast_torch(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """x rounded to a type; its derivative is 1."""
    if dtype is x.dtype:
        return x
    if not torch.compiler.is_compiling():
        return x.to(dtype).to(x.dtype)
    # Inductor takes two conversions for none. A bit pattern it leaves alone.
    bits = x.view(torch.int32)
    if dtype is torch.bfloat16:
        rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) & -0x10000).view(torch.float32)
    else:
        normal = ((bits + 0xFFF + ((bits >> 13) & 1)) & -0x2000).view(torch.float32)
        normal = torch.where(normal.abs() > 65504.0, normal * torch.inf, normal)
        subnormal = torch.copysign((x.abs() + 0.5) - 0.5, x)  # in steps of 2^-24
        rounded = torch.where(x.abs() < 2.0**-14, subnormal, normal)
    rounded = torch.where(x == x, rounded, x)
    change = torch.where(torch.isfinite(x), rounded - x, 0.0).detach()  # x + change is exact
    moved = torch.where((rounded == 0.0) & (x != 0.0), rounded, x + change)
    return torch.where(change == 0.0, x, moved)  # -0 + 0 is 0


def exp_sum_torch(hi: torch.Tensor, lo: torch.Tensor) -> torch.Tensor:
    """e^(hi + lo), where lo is a correction of hi. An infinite hi decides, whatever lo is."""
    inside = torch.abs(hi) < 1024.0
    s = torch.where(inside, hi + lo, hi)
    rest = torch.where(inside, lo - (s - hi), 0.0)
    e = torch.exp(s)
    return torch.where(e < float("inf"), e + e * rest, e)


def exp_error_torch(t: torch.Tensor, hi: torch.Tensor, lo: torch.Tensor | float) -> torch.Tensor:
    """What `t`, a computed e^(hi + lo), lacks; 0 where that is beyond e^64 or below e^-64."""
    double = t.dtype == torch.float64
    log2e, ln2_hi, ln2_lo, beyond_square = _of_exp(double)
    inside = torch.abs(hi) < 64.0
    u = torch.where(inside, hi, 0.0)
    n = torch.floor(u * log2e + 0.5)
    whole = u - n * ln2_hi
    rest = n * ln2_lo
    r = whole - rest
    square = r * r
    first = 1.0 + r
    second = first + 0.5 * square
    lost = (r - (first - 1.0)) + (0.5 * square - (second - first)) + 0.5 * product_error_torch(r, r)
    third = r * square * _horner(r, beyond_square)
    lost = lost + third + (second + third) * (((whole - r) - rest) + lo)
    return torch.where(inside, ((second - t * torch.exp2(-n)) + lost) * torch.exp2(n), 0.0)


def _below_range(u: torch.Tensor) -> float:
    # Where exp(u) nears the end of its type; exp(-shift) has next to no rounding error.
    return 698.0 if u.dtype == torch.float64 else 80.125


def exp_high_torch(u: torch.Tensor) -> torch.Tensor:
    """e^u for u <= 0 but for `exp_low_torch(u)`, by which it is to be multiplied last."""
    shift = _below_range(u)
    return torch.exp(torch.where(u < -shift, u + shift, u))


def exp_sum_high_torch(hi: torch.Tensor, lo: torch.Tensor) -> torch.Tensor:
    """e^(hi + lo) for hi <= 0 but for `exp_low_torch(hi)`, where lo is a correction of hi."""
    shift = _below_range(hi)
    return exp_sum_torch(torch.where(hi < -shift, hi + shift, hi), lo)


def exp_low_torch(u: torch.Tensor) -> torch.Tensor:
    """What `exp_high_torch(u)` leaves of e^u: 1 but where that would be subnormal."""
    shift = _below_range(u)
    return torch.where(u < -shift, u.new_full((), math.exp(-shift)), 1.0)


def erfcx_torch(u: torch.Tensor) -> torch.Tensor:
    """e^(u^2) erfc(u) for u >= 0, by the same polynomial as the kernel's."""
    k, coefficients = _of_erfcx(u.dtype == torch.float64)
    near = u < 1e18
    r = 1.0 / (u + k)
    r = r + r * torch.where(near, (1.0 - k * r) - u * r, 0.0)
    return r * _horner(torch.where(near, 2.0 * (u * r) - 1.0, 1.0), coefficients)


def mills_torch(u: torch.Tensor) -> torch.Tensor:
    """e^(u^2 / 2) erfc(u / sqrt(2)) for u >= 0, by the same polynomial as the kernel's."""
    if u.dtype == torch.float64:
        return erfcx_torch(u * _root_half())
    near = u < 1e18
    r = 1.0 / (u + 2.75)
    r = r + r * torch.where(near, (1.0 - 2.75 * r) - u * r, 0.0)
    return r * _horner(torch.where(near, 2.0 * (u * r) - 1.0, 1.0), _of_mills())


def product_torch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a b, rounded; the clamp keeps a compiler from fusing it with the sum that uses it."""
    p = a * b
    largest = torch.finfo(p.dtype).max
    return torch.clamp(p, -largest, largest)


def product_error_torch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a b minus its rounded value, exactly, by Dekker's product of halves.

    Where a b overflows the result is of no use, and may be infinite or NaN.
    """
    a_hi, b_hi = _upper_half(a), _upper_half(b)
    a_lo, b_lo = a - a_hi, b - b_hi
    p = product_torch(a, b)
    return ((a_hi * b_hi - p + a_hi * b_lo) + a_lo * b_hi) + a_lo * b_lo


def _upper_half(a: torch.Tensor) -> torch.Tensor:
    """A number rounded to half of its bits: by a mask, or under transforms by arithmetic (Veltkamp)."""
    integer, bits = (torch.int64, 27) if a.dtype == torch.float64 else (torch.int32, 12)
    if not _transforms_active():
        return ((a.view(integer) + (1 << (bits - 1))) & -(1 << bits)).view(a.dtype)
    # The vmap of torch 2.11 has no views in another type.
    largest, shrink = torch.finfo(a.dtype).max, 2.0 ** -(bits + 2)
    scale = torch.where(torch.abs(a) > largest * shrink, a.new_full((), shrink), 1.0)
    held = a * scale
    whole = torch.clamp(held * (2.0**bits + 1.0), -largest, largest)  # not to be fused, as in `product_torch`
    return (whole - (whole - held)) / scale


def fit_torch(z: torch.Tensor, table_32: tuple[float, ...], table_64: tuple[float, ...]) -> torch.Tensor:
    """A polynomial in z whose coefficients (lowest first) were fitted for the precision at hand."""
    table = table_64 if z.dtype == torch.float64 else table_32
    p = torch.full_like(z, table[-1])
    for c in table[-2::-1]:
        p = p * z + c
    return p


def sum_error_torch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a + b minus its rounded value, exactly (Knuth's two-sum)."""
    s = a + b
    b_part = s - a
    return (a - (s - b_part)) + (b - b_part)


def turned_torch(u: torch.Tensor, lo: torch.Tensor | float) -> torch.Tensor:
    """sin(u + lo + pi / 4), where lo is what the rounding of u lost; relatively accurate at its roots."""
    double = u.dtype == torch.float64
    largest = torch.finfo(u.dtype).max
    held = torch.clamp(u, -largest, largest)  # so that a compiler does not fuse a product with the sum
    high, low = _quarter_pi(double)
    quarter = u.new_full((), high)
    rest = sum_error_torch(held, quarter) + (lo + low)
    near = torch.abs(u) < 65536.0
    angle = torch.where(near, held + quarter, u)
    s, c = torch.sin(angle), torch.cos(angle)
    return torch.where(near, s + rest * (c - 0.5 * rest * s), (s + c) * _root_half())


def pow_sum_torch(a: torch.Tensor, b: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """a^(b + rest) for a >= 0, else NaN; rest is what rounding b to 24 bits lost."""
    if a.dtype == torch.float64:
        power = torch.pow(a, b + rest)
    else:
        power = torch.pow(a, b)
        power = power * (1.0 + rest * torch.log(torch.clamp(a, 2.0**-126, 2.0**127)))
    return torch.where(a >= 0.0, power, float("nan"))


def cbrt_torch(x: torch.Tensor) -> torch.Tensor:
    """The real cube root."""
    a = torch.abs(x)
    root = torch.pow(a, 1 / 3)
    root = torch.where((a > 0) & (a < float("inf")), root - (root - a / (root * root)) / 3, a)
    return torch.copysign(root, x)


# operation       Triton                        torch
# exp             _math.exp(u, fast)            torch.exp(u)
# exp_high        _math.exp_high(u, fast)       _math.exp_high_torch(u)
# exp_low         _math.exp_low(u, fast)        _math.exp_low_torch(u)
# exp_sum_high    _math.exp_sum_high(hi, lo, fast)  _math.exp_sum_high_torch(hi, lo)
# exp_sum         _math.exp_sum(hi, lo, fast)   _math.exp_sum_torch(hi, lo)
# exp_error       _math.exp_error(t, hi, lo, fast)  _math.exp_error_torch(t, hi, lo)
# expm1           _math.expm1(u, fast)          torch.expm1(u)
# log             _math.log(u, fast)            torch.log(u)
# log1p           _math.log1p(u, fast)          torch.log1p(u)
# log1p_unit      _math.log1p_unit(u, fast)     torch.log1p(u)       (0 <= u <= 1)
# erf             _math.erf(u, fast)            torch.erf(u)
# erfcx           _math.erfcx(u, fast)          _math.erfcx_torch(u)
# mills           _math.mills(u, fast)          _math.mills_torch(u)
# product         _math.product(a, b)           _math.product_torch(a, b)
# product_error   _math.product_error(a, b)     _math.product_error_torch(a, b)
# sum_error       _math.sum_error(a, b)         _math.sum_error_torch(a, b)
# copysign        _math.copysign(a, b)          torch.copysign(a, b)
# ratio           _math.ratio(a, b, fast)       a / b
# max, min        _math.maximum / minimum       torch.maximum / minimum
# sign            _math.sign(x)                 torch.where(x == x, torch.sign(x), x)
# abs             tl.abs(x)                     torch.abs(x)
# floor, ceil     _math.floor / ceil(x)         torch.floor / ceil(x)
# round           _math.round(x)                torch.round(x)
# sin, cos        _math.sin / cos(x, fast)      torch.sin / cos(x)
# turned          _math.turned(u, lo, fast)     _math.turned_torch(u, lo)
# asin acos atan  _math.asin(x, fast) ...       torch.asin(x) ...
# cbrt            _math.cbrt(x, fast)           _math.cbrt_torch(x)
# pow             _math.pow(a, b, fast)         torch.pow(a, b)
# pow_sum         _math.pow_sum(a, b, rest, fast)  _math.pow_sum_torch(a, b, rest)
# sqrt            _math.sqrt(x, fast)           torch.sqrt(x)
