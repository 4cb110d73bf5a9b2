CREATE TABLE payment (
  id                 bigint         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  purchase_order_id  bigint         NOT NULL REFERENCES purchase_order ON DELETE RESTRICT,
  -- A refund is a payment of a negative amount.
  amount             numeric(14, 2) NOT NULL CHECK (amount <> 0),
  provider           text           NOT NULL,
  provider_reference text           NOT NULL,
  received_at        timestamptz    NOT NULL DEFAULT now(),
  -- A provider may report the same payment twice: it counts once.
  UNIQUE (provider, provider_reference)
);

CREATE INDEX payment_purchase_order ON payment (purchase_order_id);

COMMENT ON TABLE payment IS 'Money received for orders, and given back';
COMMENT ON COLUMN payment.amount IS 'In the order''s currency';
