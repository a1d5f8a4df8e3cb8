# SPDX-License-Identifier: Apache-2.0
"""A request for a candidate, answered: trained, judged, released, registered."""
