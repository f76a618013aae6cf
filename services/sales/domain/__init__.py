"""Pure rules of sales: amounts, the states of an order, what its lines may be, what stock suffices for."""
