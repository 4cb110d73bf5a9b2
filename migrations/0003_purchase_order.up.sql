-- "order" is a reserved word of SQL.
CREATE TABLE purchase_order (
  id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  customer_id bigint      NOT NULL REFERENCES customer ON DELETE RESTRICT,
  currency    text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  status      text        NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'paid', 'shipped', 'cancelled')),
  placed_at   timestamptz NOT NULL DEFAULT now(),
  shipped_at  timestamptz CHECK (shipped_at >= placed_at),
  CONSTRAINT purchase_order_shipped_has_time CHECK ((status = 'shipped') = (shipped_at IS NOT NULL))
);

CREATE INDEX purchase_order_customer ON purchase_order (customer_id, placed_at DESC);

-- For the warehouse: few orders are not yet on their way, however many there have been.
CREATE INDEX purchase_order_to_ship ON purchase_order (placed_at) WHERE status = 'paid';

CREATE TABLE order_line (
  purchase_order_id bigint         NOT NULL REFERENCES purchase_order ON DELETE CASCADE,
  line_number       smallint       NOT NULL CHECK (line_number > 0),
  product_id        bigint         NOT NULL REFERENCES product ON DELETE RESTRICT,
  quantity          integer        NOT NULL CHECK (quantity > 0),
  unit_price        numeric(12, 2) NOT NULL CHECK (unit_price >= 0),
  line_total        numeric(14, 2) NOT NULL GENERATED ALWAYS AS (quantity * unit_price) STORED,
  PRIMARY KEY (purchase_order_id, line_number),
  UNIQUE (purchase_order_id, product_id)
);

CREATE INDEX order_line_product ON order_line (product_id);

COMMENT ON TABLE purchase_order IS 'Orders of customers';
COMMENT ON TABLE order_line IS 'Products of an order';
COMMENT ON COLUMN order_line.unit_price IS 'Price at the time of the order, in the order''s currency';
